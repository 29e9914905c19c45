//! What differs between a model's layers besides their weights.

use crate::backend::Attention;
use plimsoll_formats::ModelConfig;

/// One layer's facts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct LayerFacts {
    /// What its attention looks at.
    pub(crate) attention: Attention,
    /// Which of the step's rotations turns its queries and keys.
    pub(crate) rope: usize,
}

impl LayerFacts {
    /// The facts of every layer.
    pub(crate) fn of(config: &ModelConfig) -> Vec<LayerFacts> {
        let facts = |layer: usize| {
            let window = config.window.as_ref().filter(|window| window.layers.get(layer) == Some(&true));
            let attention = Attention {
                scale: config.attention_scale as f32,
                softcap: config.attention_softcap.map(|cap| cap as f32),
                window: window.map(|window| window.tokens),
            };
            LayerFacts { attention, rope: usize::from(window.is_some() && config.window_rope.is_some()) }
        };
        (0..config.layers).map(facts).collect()
    }
}
