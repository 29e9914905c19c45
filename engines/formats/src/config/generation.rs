//! How a model is sampled.

/// How the model's authors want it sampled. Absent numbers are the engine's to choose.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GenerationConfig {
    /// Tokens that end a reply: the generation configuration's where it has them, else the model's.
    pub eos: Vec<u32>,
    /// Whether replies are sampled at all; `false` is greedy.
    pub do_sample: Option<bool>,
    /// At least 0.
    pub temperature: Option<f64>,
    /// Above 0, at most 1.
    pub top_p: Option<f64>,
    /// 0 is no limit.
    pub top_k: Option<u32>,
    /// Above 0; 1 is none.
    pub repetition_penalty: Option<f64>,
}
