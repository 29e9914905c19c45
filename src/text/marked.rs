//! A vocabulary that knows its control tokens by a mark, so that only those are recognised that someone marked.

use super::error::{TextError, foreign};
use super::normalizer::Run;
use std::collections::HashMap;
use std::ops::Range;
use tokenizers::models::ModelWrapper;
use tokenizers::{AddedToken, AddedVocabulary};

/// The mark: a character that Unicode promises never to use.
const MARK: char = '\u{FDD0}';

/// The added tokens of a tokenizer, the control tokens among them with a mark in front.
#[derive(Clone, Debug)]
pub(super) struct Marked {
    added: AddedVocabulary,
    /// From the ids that the marked tokens were given to those that they stand for.
    ids: HashMap<u32, u32>,
}

impl Marked {
    pub(super) fn new(
        added: &AddedVocabulary,
        model: &ModelWrapper,
        normalizer: Option<&Run<'_>>,
    ) -> Result<Self, TextError> {
        let known = added.get_added_tokens_decoder();
        let spelled = |token: &AddedToken| match token.special {
            true => [MARK.encode_utf8(&mut [0; 4]), token.content.as_str()].concat(),
            false => token.content.clone(),
        };
        let tokens = known.values().map(|token| AddedToken { content: spelled(token), ..token.clone() });
        let mut marked = AddedVocabulary::new();
        marked.add_tokens(tokens, model, normalizer).map_err(|e| TextError::Tokenizer(foreign(&e)))?;
        let ids =
            known.iter().filter_map(|(id, token)| Some((marked.token_to_id(&spelled(token), model)?, *id)));
        let ids = ids.collect();
        Ok(Marked { added: marked, ids })
    }

    pub(super) fn added(&self) -> &AddedVocabulary {
        &self.added
    }

    /// The id that a found token stands for.
    pub(super) fn id(&self, found: u32) -> u32 {
        self.ids.get(&found).copied().unwrap_or(found)
    }

    /// The text with a mark before each place, which are sorted.
    ///
    /// # Errors
    /// [`TextError::Encode`] for a text with the mark in it: a message that spells control tokens could mark them.
    pub(super) fn mark(&self, text: &str, places: &[Range<usize>]) -> Result<String, TextError> {
        if text.contains(MARK) {
            return Err(TextError::Encode(
                "it spells control tokens, and has the noncharacter U+FDD0".into(),
            ));
        }
        let mut marked = String::with_capacity(text.len() + places.len() * MARK.len_utf8());
        let mut copied = 0;
        for place in places {
            marked.push_str(&text[copied..place.start]);
            marked.push(MARK);
            copied = place.start;
        }
        marked.push_str(&text[copied..]);
        Ok(marked)
    }
}
