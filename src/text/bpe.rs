//! Builds the byte-pair model from parts that may contradict each other.

use super::error::{TextError, foreign, quoted};
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use std::fmt;
use tokenizers::models::bpe::{BPE, Vocab};

/// Ids are below this. The largest vocabularies in use have 262,144 tokens.
pub(super) const MAX_VOCAB: u32 = 1 << 22;

/// Two neighbours that become one token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Merge(pub(super) String, pub(super) String);

/// How the model treats text that no merge covers.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    pub(super) unknown: Option<String>,
    pub(super) fuse_unknown: bool,
    pub(super) byte_fallback: bool,
    pub(super) ignore_merges: bool,
    pub(super) end_of_word: Option<String>,
    /// What a token that does not begin a word begins with.
    pub(super) continuing: Option<String>,
}

/// Builds the model after checking what the crate takes on trust: unique ids in a dense range, and merges whose two
/// sides and result are all tokens.
///
/// # Errors
/// [`TextError::Tokenizer`], [`TextError::TooLarge`].
pub(super) fn build(vocab: Vocab, merges: Vec<Merge>, rules: Rules) -> Result<BPE, TextError> {
    check_ids(vocab.values().copied(), vocab.len())?;
    let continuing = rules.continuing.as_deref().unwrap_or("");
    let mut whole = String::new();
    for (rank, Merge(left, right)) in merges.iter().enumerate() {
        whole.clear();
        whole.push_str(left);
        let Some(rest) = right.strip_prefix(continuing) else {
            let (right, continuing) = (quoted(right), quoted(continuing));
            return Err(TextError::Tokenizer(format!(
                "merge {rank}: {right} does not begin with {continuing}"
            )));
        };
        whole.push_str(rest);
        if let Some(missing) = [left, right, &whole].into_iter().find(|token| !vocab.contains_key(*token)) {
            let missing = quoted(missing);
            return Err(TextError::Tokenizer(format!("merge {rank} needs {missing}, which is not a token")));
        }
    }
    if let Some(unknown) = rules.unknown.as_ref().filter(|token| !vocab.contains_key(*token)) {
        return Err(TextError::Tokenizer(format!("the unknown token {} is not a token", quoted(unknown))));
    }
    let merges = merges.into_iter().map(|Merge(left, right)| (left, right)).collect();
    // The crate's cache lives in each calling thread and outlives the tokenizer; without it memory stays accounted for.
    let mut builder = BPE::builder()
        .vocab_and_merges(vocab, merges)
        .cache_capacity(0)
        .fuse_unk(rules.fuse_unknown)
        .byte_fallback(rules.byte_fallback)
        .ignore_merges(rules.ignore_merges);
    if let Some(unknown) = rules.unknown {
        builder = builder.unk_token(unknown);
    }
    if let Some(suffix) = rules.end_of_word {
        builder = builder.end_of_word_suffix(suffix);
    }
    if let Some(prefix) = rules.continuing {
        builder = builder.continuing_subword_prefix(prefix);
    }
    builder.build().map_err(|e| TextError::Tokenizer(foreign(&e)))
}

/// Refuses ids that repeat, or so sparse that a table over them would be far larger than the file.
pub(super) fn check_ids(ids: impl Iterator<Item = u32> + Clone, count: usize) -> Result<(), TextError> {
    let limit = table_limit(count);
    let Some(largest) = ids.clone().max() else {
        return Err(TextError::Tokenizer("the vocabulary is empty".into()));
    };
    if largest >= limit {
        return Err(TextError::TooLarge {
            what: "token id",
            got: largest.into(),
            limit: u64::from(limit) - 1,
        });
    }
    let mut seen = Vec::new();
    seen.try_reserve_exact(largest as usize + 1).map_err(|_| TextError::NoMemory("the vocabulary"))?;
    seen.resize(largest as usize + 1, false);
    for id in ids {
        if std::mem::replace(&mut seen[id as usize], true) {
            return Err(TextError::Tokenizer(format!("two tokens have the id {id}")));
        }
    }
    Ok(())
}

/// The number of ids that a table for so many tokens may have.
pub(super) fn table_limit(tokens: usize) -> u32 {
    let limit = tokens.saturating_mul(8).saturating_add(1024);
    u32::try_from(limit).unwrap_or(MAX_VOCAB).min(MAX_VOCAB)
}

/// A merge is a pair, or in older files one string with a space between.
impl<'de> Deserialize<'de> for Merge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Merge;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a pair of tokens")
            }

            fn visit_str<E: Error>(self, line: &str) -> Result<Merge, E> {
                match line.split_once(' ') {
                    Some((left, right)) if !right.contains(' ') => Ok(Merge(left.into(), right.into())),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Str("merge"), &self)),
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut pair: A) -> Result<Merge, A::Error> {
                match (pair.next_element()?, pair.next_element()?, pair.next_element::<String>()?) {
                    (Some(left), Some(right), None) => Ok(Merge(left, right)),
                    _ => Err(A::Error::invalid_length(0, &self)),
                }
            }
        }
        deserializer.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vocab(tokens: &[(&str, u32)]) -> Vocab {
        tokens.iter().map(|(token, id)| ((*token).to_owned(), *id)).collect()
    }

    fn merge(left: &str, right: &str) -> Merge {
        Merge(left.into(), right.into())
    }

    #[test]
    fn contradictions_are_refused() {
        let rules = Rules::default;
        let good = vocab(&[("a", 0), ("b", 1), ("ab", 2)]);
        assert!(build(good.clone(), vec![merge("a", "b")], rules()).is_ok());
        for (vocab, merges, rules) in [
            (vocab(&[]), vec![], rules()),
            (vocab(&[("a", 0), ("b", 0)]), vec![], rules()),
            (vocab(&[("a", u32::MAX)]), vec![], rules()),
            (vocab(&[("a", 5000)]), vec![], rules()),
            (good.clone(), vec![merge("b", "a")], rules()),
            (good.clone(), vec![merge("a", "c")], rules()),
            (good.clone(), vec![merge("ab", "ab")], rules()),
            (good.clone(), vec![merge("a", "b")], Rules { continuing: Some("##".into()), ..rules() }),
            (good.clone(), vec![], Rules { unknown: Some("u".into()), ..rules() }),
        ] {
            assert!(build(vocab, merges, rules).is_err());
        }
    }

    #[test]
    fn tokens_inside_of_words_have_a_prefix() {
        let vocab = vocab(&[("a", 0), ("##b", 1), ("ab", 2)]);
        let rules = Rules { continuing: Some("##".into()), ..Rules::default() };
        let model = build(vocab, vec![merge("a", "##b")], rules).unwrap();
        let ids: Vec<u32> =
            tokenizers::Model::tokenize(&model, "ab").unwrap().iter().map(|token| token.id).collect();
        assert_eq!(ids, [2]);
    }

    #[test]
    fn merges_parse_in_both_forms() {
        let both: Vec<Merge> = serde_json::from_str(r#"["a b", ["c", "d e"]]"#).unwrap();
        assert_eq!(both, [merge("a", "b"), merge("c", "d e")]);
        for bad in [r#"["ab"]"#, r#"["a b c"]"#, r#"[["a"]]"#, r#"[["a","b","c"]]"#, "[1]"] {
            assert!(serde_json::from_str::<Vec<Merge>>(bad).is_err(), "{bad}");
        }
    }
}
