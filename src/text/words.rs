//! Builds the crate's other models from parts that it would take on trust.

use super::bpe::{MAX_VOCAB, check_ids};
use super::error::{TextError, foreign, quoted};
use tokenizers::models::bpe::Vocab;
use tokenizers::models::unigram::Unigram;
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::models::wordpiece::WordPiece;

/// Longest token of a unigram model, in bytes: its trie is freed by recursion, and each place of a text is compared with
/// as much. SentencePiece's have up to 16 characters.
const MAX_TOKEN: usize = 256;

/// Longest word that a word-piece model may cut, in characters: its time grows with the square.
const MAX_WORD: usize = 1024;

/// A unigram model: tokens with scores, in the order of their ids.
///
/// # Errors
/// [`TextError::Tokenizer`], [`TextError::TooLarge`].
pub(super) fn unigram(
    tokens: Vec<(String, f64)>,
    unknown: Option<usize>,
    byte_fallback: bool,
) -> Result<Unigram, TextError> {
    if tokens.len() > MAX_VOCAB as usize {
        let (got, limit) = (tokens.len() as u64, MAX_VOCAB.into());
        return Err(TextError::TooLarge { what: "vocabulary size", got, limit });
    }
    if tokens.is_empty() {
        return Err(TextError::Tokenizer("the vocabulary is empty".into()));
    }
    for (token, score) in &tokens {
        if token.len() > MAX_TOKEN {
            let (got, limit) = (token.len() as u64, MAX_TOKEN as u64);
            return Err(TextError::TooLarge { what: "bytes of a unigram token", got, limit });
        }
        if !score.is_finite() {
            return Err(TextError::Tokenizer(format!("the score of {} is {score}", quoted(token))));
        }
    }
    if unknown.is_some_and(|id| id >= tokens.len()) {
        let text = format!("the unknown id is not in the vocabulary of {} tokens", tokens.len());
        return Err(TextError::Tokenizer(text));
    }
    let mut model =
        Unigram::from(tokens, unknown, byte_fallback).map_err(|e| TextError::Tokenizer(foreign(&e)))?;
    // Memory stays accounted for.
    model.resize_cache(0);
    Ok(model)
}

/// A word-piece model.
///
/// # Errors
/// [`TextError::Tokenizer`], [`TextError::TooLarge`].
pub(super) fn word_pieces(
    vocab: Vocab,
    unknown: String,
    prefix: String,
    longest_word: usize,
) -> Result<WordPiece, TextError> {
    check(&vocab, &unknown)?;
    if longest_word > MAX_WORD {
        let (got, limit) = (longest_word as u64, MAX_WORD as u64);
        return Err(TextError::TooLarge { what: "characters of a word", got, limit });
    }
    let builder = WordPiece::builder().vocab(vocab).unk_token(unknown).continuing_subword_prefix(prefix);
    let model = builder.max_input_chars_per_word(longest_word).build();
    model.map_err(|e| TextError::Tokenizer(foreign(&e)))
}

/// A model of whole words.
///
/// # Errors
/// [`TextError::Tokenizer`], [`TextError::TooLarge`].
pub(super) fn words(vocab: Vocab, unknown: String) -> Result<WordLevel, TextError> {
    check(&vocab, &unknown)?;
    let model = WordLevel::builder().vocab(vocab).unk_token(unknown).build();
    model.map_err(|e| TextError::Tokenizer(foreign(&e)))
}

fn check(vocab: &Vocab, unknown: &str) -> Result<(), TextError> {
    check_ids(vocab.values().copied(), vocab.len())?;
    match vocab.contains_key(unknown) {
        true => Ok(()),
        false => Err(TextError::Tokenizer(format!("the unknown token {} is not a token", quoted(unknown)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contradictions_are_refused() {
        let tokens = |last: &str, score| vec![("<unk>".to_owned(), 0.0), (last.to_owned(), score)];
        assert!(unigram(tokens("a", -1.0), Some(0), false).is_ok());
        for (tokens, unknown) in [
            (Vec::new(), None),
            (tokens("a", f64::NAN), Some(0)),
            (tokens("a", f64::INFINITY), Some(0)),
            (tokens("a", 0.0), Some(2)),
            (tokens(&"a".repeat(70_000), 0.0), Some(0)),
        ] {
            assert!(unigram(tokens, unknown, false).is_err());
        }
        let vocab: Vocab = [("a".to_owned(), 0)].into_iter().collect();
        assert!(words(vocab.clone(), "a".into()).is_ok());
        assert!(words(vocab.clone(), "b".into()).is_err());
        assert!(word_pieces(vocab.clone(), "a".into(), "##".into(), 100).is_ok());
        assert!(word_pieces(vocab, "a".into(), "##".into(), 1 << 20).is_err());
    }
}
