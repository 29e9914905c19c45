//! The SentencePiece kinds of GGUF vocabularies, put together from the crate's models.

use super::bpe::{self, Merge, Rules};
use super::bytes_table::Kind;
use super::charsmap::Charsmap;
use super::decoding::Decoding;
use super::detokenizer::LeadingSpaces;
use super::error::{TextError, quoted};
use super::gguf::{self, BYTE, GgufVocab, TEXT, USER_DEFINED};
use super::normalizer::Steps;
use super::splitter::Splitter;
use super::tokenizer::{Listed, Parts};
use super::whitespace::Whitespace;
use super::words;
use std::cmp::Reverse;
use tokenizers::models::ModelWrapper;
use tokenizers::models::bpe::Vocab;

/// Most bytes to look at while merges are found: the squares of the tokens' lengths, in sum. The largest vocabularies in
/// use take about 20 MB.
const MAX_WORK: usize = 256 << 20;

/// How SentencePiece shows text that it has no token for.
const UNKNOWN: &str = " \u{2047} ";

/// Byte-pair encoding by scores (`llama`): of all neighbours that are a token together, those with the greatest score
/// become one. The merges follow from the scores: a token can be made of any two others, and its rank is that of its score.
pub(super) fn pairs(vocab: &GgufVocab) -> Result<Parts, TextError> {
    let ids = gguf::ids(vocab)?;
    check_scores(vocab)?;
    let unknown = vocab.unknown.unwrap_or(0);
    let rules = Rules {
        unknown: vocab.tokens.get(unknown as usize).filter(|token| !token.is_empty()).cloned(),
        fuse_unknown: true,
        byte_fallback: vocab.token_types.contains(&BYTE),
        ..Rules::default()
    };
    let merges = merges(vocab, &ids)?;
    let model = bpe::build(ids, merges, rules)?;
    parts(vocab, model.into(), unknown, (true, false))
}

/// The unigram model (`t5`): the tokens whose scores have the greatest sum.
pub(super) fn unigram(vocab: &GgufVocab) -> Result<Parts, TextError> {
    // For its errors alone.
    gguf::ids(vocab)?;
    check_scores(vocab)?;
    let unknown = vocab.unknown.unwrap_or(2);
    let tokens = vocab.tokens.iter().cloned().zip(vocab.scores.iter().map(|score| f64::from(*score)));
    let byte_fallback = vocab.token_types.contains(&BYTE);
    let model = words::unigram(tokens.collect(), Some(unknown as usize), byte_fallback)?;
    parts(vocab, model.into(), unknown, (false, true))
}

fn parts(
    vocab: &GgufVocab,
    model: ModelWrapper,
    unknown: u32,
    (bos, eos): (bool, bool),
) -> Result<Parts, TextError> {
    let rules = match vocab.charsmap {
        [] => None,
        bytes => Some(Charsmap::parse(bytes)?),
    };
    let prefix = vocab.add_space_prefix.unwrap_or(true);
    let whitespace = Whitespace { rules, prefix, collapse: vocab.remove_extra_whitespaces.unwrap_or(false) };
    let growth = whitespace.growth();
    let leading = if prefix { LeadingSpaces::Drop(1) } else { LeadingSpaces::Keep };
    let mut listed = gguf::listed(vocab)?;
    if let Err(place) = listed.binary_search_by_key(&unknown, |listed| listed.id)
        && (unknown as usize) < vocab.tokens.len()
    {
        listed.insert(place, Listed { id: unknown, kind: Kind::Unknown, shown: Some(UNKNOWN) });
    }
    let (prefix, suffix) = gguf::affixes(vocab, bos, eos)?;
    Ok(Parts {
        added: gguf::added(vocab, &model, true)?,
        normalizes_added: false,
        growth,
        spells_all: true,
        normalizer: Steps::sentencepiece(whitespace),
        splitter: Splitter::default(),
        model,
        prefix,
        suffix,
        decoding: Decoding::pieces(leading),
        listed,
    })
}

/// Every way to make a token of two others. Both halves of a control or a byte token are text to SentencePiece, so those
/// are never made.
fn merges(vocab: &GgufVocab, ids: &Vocab) -> Result<Vec<Merge>, TextError> {
    let work = vocab
        .tokens
        .iter()
        .fold(0_usize, |sum, token| sum.saturating_add(token.len().saturating_mul(token.len())));
    if work > MAX_WORK {
        let (got, limit) = (work as u64, MAX_WORK as u64);
        return Err(TextError::TooLarge { what: "work to find the merges, in bytes", got, limit });
    }
    let is_text = |id: u32| matches!(vocab.token_types.get(id as usize), Some(&(TEXT | USER_DEFINED)));
    let mut found = Vec::new();
    for (id, token) in (0..).zip(vocab.tokens).filter(|(id, _)| is_text(*id)) {
        let rank = Reverse(Score(vocab.scores[id as usize]));
        for (at, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(at);
            if let (Some(&left), Some(&right)) = (ids.get(left), ids.get(right))
                && is_text(left)
                && is_text(right)
            {
                found.push((rank, id, left, right));
            }
        }
    }
    found.sort_unstable();
    let text = |id: u32| vocab.tokens[id as usize].clone();
    Ok(found.into_iter().map(|(_, _, left, right)| Merge(text(left), text(right))).collect())
}

/// A score, ordered.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Score(f32);

impl Eq for Score {}

impl Ord for Score {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

fn check_scores(vocab: &GgufVocab) -> Result<(), TextError> {
    let (tokens, scores) = (vocab.tokens.len(), vocab.scores.len());
    if tokens != scores {
        return Err(TextError::Tokenizer(format!("{tokens} tokens but {scores} scores")));
    }
    if let Some(id) = vocab.scores.iter().position(|score| !score.is_finite()) {
        let (token, score) = (quoted(&vocab.tokens[id]), vocab.scores[id]);
        return Err(TextError::Tokenizer(format!("the score of {token} is {score}")));
    }
    Ok(())
}
