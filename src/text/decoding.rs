//! How tokens are spelled, and what each becomes in a text: the decoder of a tokenizer, one token at a time.

use super::detokenizer::LeadingSpaces;
use super::error::{TextError, quoted};
use super::pattern::{Regex, escape};
use super::whitespace::SPACE;
use serde_json::Value;
use tokenizers::decoders::wordpiece::cleanup;

/// Most steps. Real decoders have up to five.
const MAX_STEPS: usize = 16;

/// A token may become this many times longer, and so many bytes more.
const GROWTH: usize = 16;
const MORE: usize = 1 << 10;

/// What a token stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Spelled {
    /// Bytes of text.
    Text(Vec<u8>),
    /// One byte that the vocabulary has no other token for.
    Byte(u8),
}

/// A vocabulary's decoder.
#[derive(Debug)]
pub(super) struct Decoding {
    steps: Vec<Step>,
    /// What becomes of spaces at the start.
    pub(super) leading: LeadingSpaces,
    /// Equal neighbours count once.
    pub(super) fuses_repeats: bool,
    /// A space at the very end goes.
    pub(super) drops_last_space: bool,
    /// Added tokens that are text are decoded like all others.
    pub(super) decodes_added: bool,
    /// Control tokens, too, as Hugging Face's decoders do.
    pub(super) decodes_special: bool,
}

#[derive(Debug)]
enum Step {
    /// Each character is a byte.
    ByteLevel,
    /// `<0xNN>` is a byte.
    ByteFallback,
    Replace {
        pattern: Regex,
        content: String,
    },
    /// The character is a space, and nothing in the first token if `first_drops`.
    Metaspace {
        character: char,
        first_drops: bool,
    },
    /// Tokens that do not begin with the prefix follow a space.
    WordPiece {
        prefix: String,
        clean: bool,
    },
    /// The suffix of a word's last token.
    Suffix(String),
    Strip {
        content: char,
        start: usize,
        stop: usize,
    },
    Ctc {
        pad: String,
        delimiter: String,
        clean: bool,
    },
}

impl Decoding {
    fn new(steps: Vec<Step>, leading: LeadingSpaces) -> Self {
        Decoding {
            leading,
            fuses_repeats: false,
            drops_last_space: false,
            decodes_added: !steps.iter().any(|step| matches!(step, Step::ByteLevel)),
            decodes_special: false,
            steps,
        }
    }

    /// Each byte is one printable character, as in GPT-2.
    pub(super) fn byte_level() -> Self {
        Self::new(vec![Step::ByteLevel], LeadingSpaces::Keep)
    }

    /// Text with `▁` for a space, and `<0xNN>` for bytes without a token.
    pub(super) fn pieces(leading: LeadingSpaces) -> Self {
        let spaces = Step::Metaspace { character: SPACE, first_drops: false };
        Self::new(vec![Step::ByteFallback, spaces], leading)
    }

    /// Reads the `decoder` object of a tokenizer.json.
    ///
    /// # Errors
    /// [`TextError::Unsupported`] for what cannot be done one token at a time, [`TextError::Tokenizer`].
    pub(super) fn from_json(json: &Value, byte_level: bool) -> Result<Self, TextError> {
        if json.is_null() && byte_level {
            return Ok(Self::byte_level());
        }
        if json.is_null() {
            // Without a decoder the reference joins tokens with spaces.
            let joined = Step::WordPiece { prefix: String::new(), clean: false };
            let joined = Self::new(vec![joined], LeadingSpaces::Drop(1));
            return Ok(Decoding { decodes_special: true, ..joined });
        }
        let mut decoding = Self::new(Vec::new(), LeadingSpaces::Keep);
        let mut fused = false;
        decoding.push(json, &mut fused)?;
        decoding.decodes_added = !decoding.steps.iter().any(|step| matches!(step, Step::ByteLevel));
        decoding.decodes_special = decoding.decodes_added;
        Ok(decoding)
    }

    fn push(&mut self, json: &Value, fused: &mut bool) -> Result<(), TextError> {
        let text = |key: &str| json.get(key).and_then(Value::as_str);
        let kind = text("type").unwrap_or("none");
        if kind == "Sequence" {
            let children = json.get("decoders").and_then(Value::as_array);
            let children =
                children.ok_or_else(|| TextError::Tokenizer("a sequence without decoders".into()))?;
            return children.iter().try_for_each(|child| self.push(child, fused));
        }
        if self.steps.len() >= MAX_STEPS {
            let (got, limit) = (self.steps.len() as u64 + 1, MAX_STEPS as u64);
            return Err(TextError::TooLarge { what: "decoder steps", got, limit });
        }
        let unsupported = |name: String| Err(TextError::Unsupported { what: "token decoder", name });
        let required = |key: &str| {
            let fault = || TextError::Tokenizer(format!("the decoder {} needs {key}", quoted(kind)));
            text(key).map(str::to_owned).ok_or_else(fault)
        };
        let flag = |key: &str| json.get(key).and_then(Value::as_bool);
        let step = match kind {
            "Fuse" => {
                *fused = true;
                return Ok(());
            }
            "Strip" if *fused => return self.strip_text(json),
            "Replace" => {
                let replace = replace(json)?;
                // One character is replaced alike in a token and in a text; longer matches could span tokens.
                if *fused && single(json).is_none() {
                    return unsupported("`Replace` after `Fuse`".into());
                }
                replace
            }
            _ if *fused => return unsupported(format!("{} after `Fuse`", quoted(kind))),
            "ByteLevel" => Step::ByteLevel,
            "ByteFallback" => Step::ByteFallback,
            "Metaspace" => {
                let never =
                    text("prepend_scheme") == Some("never") || flag("add_prefix_space") == Some(false);
                if !never {
                    self.leading = LeadingSpaces::DropFirstToken;
                }
                let replacement = text("replacement").unwrap_or("▁");
                let mut characters = replacement.chars();
                match (characters.next(), characters.next()) {
                    (Some(character), None) => Step::Metaspace { character, first_drops: !never },
                    _ => {
                        return Err(TextError::Tokenizer(
                            "a Metaspace decoder replaces one character".into(),
                        ));
                    }
                }
            }
            "WordPiece" => {
                self.leading = LeadingSpaces::Drop(1);
                Step::WordPiece { prefix: required("prefix")?, clean: flag("cleanup").unwrap_or(true) }
            }
            "BPEDecoder" => {
                self.drops_last_space = true;
                Step::Suffix(required("suffix")?)
            }
            "Strip" => {
                let content = required("content")?;
                let count = |key: &str| {
                    json.get(key).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok()).unwrap_or(0)
                };
                match content.chars().next() {
                    Some(character) => {
                        Step::Strip { content: character, start: count("start"), stop: count("stop") }
                    }
                    None => return Err(TextError::Tokenizer("a Strip decoder strips a character".into())),
                }
            }
            "CTC" => {
                self.fuses_repeats = true;
                let (pad, delimiter) = (required("pad_token")?, required("word_delimiter_token")?);
                Step::Ctc { pad, delimiter, clean: flag("cleanup").unwrap_or(true) }
            }
            _ => return unsupported(quoted(kind)),
        };
        if matches!(self.steps.last(), Some(Step::ByteLevel)) {
            return unsupported(format!("{} after `ByteLevel`", quoted(kind)));
        }
        self.steps.push(step);
        Ok(())
    }

    /// Strips the whole text, which `Fuse` has made of the tokens: only its start is known while it is streamed.
    fn strip_text(&mut self, json: &Value) -> Result<(), TextError> {
        let count = |key: &str| json.get(key).and_then(Value::as_u64).unwrap_or(0);
        if json.get("content").and_then(Value::as_str) != Some(" ") || count("stop") != 0 {
            let name = "`Strip` of a text's end, or of other than spaces".into();
            return Err(TextError::Unsupported { what: "token decoder", name });
        }
        self.leading = LeadingSpaces::Drop(usize::try_from(count("start")).unwrap_or(usize::MAX));
        Ok(())
    }

    /// Whether the first token may become something else than the others, beside the spaces at its start.
    pub(super) fn knows_first(&self) -> bool {
        let knows =
            |step: &Step| matches!(step, Step::Metaspace { first_drops: true, .. } | Step::WordPiece { .. });
        self.steps.iter().any(knows)
    }

    /// What a token becomes; `first` if no token is before it.
    ///
    /// # Errors
    /// [`TextError::TooLarge`] if it becomes out of proportion.
    pub(super) fn spell(&self, token: &str, first: bool) -> Result<Spelled, TextError> {
        let limit = token.len() * GROWTH + MORE;
        let mut text = token.to_owned();
        for step in &self.steps {
            text = match step {
                Step::ByteLevel => return Ok(Spelled::Text(byte_level(&text))),
                Step::ByteFallback => match byte_token(&text) {
                    Some(byte) => return Ok(Spelled::Byte(byte)),
                    None => text,
                },
                Step::Replace { pattern, content } => pattern.replace(&text, content, limit)?,
                Step::Metaspace { character, first_drops: true } if first => text.replace(*character, ""),
                Step::Metaspace { character, .. } => text.replace(*character, " "),
                Step::WordPiece { prefix, clean } => {
                    let spaced = match text.strip_prefix(prefix).filter(|_| !prefix.is_empty()) {
                        _ if first => text,
                        Some(rest) => rest.to_owned(),
                        None => format!(" {text}"),
                    };
                    if *clean { cleanup(&spaced) } else { spaced }
                }
                Step::Suffix(suffix) if suffix.is_empty() => text,
                Step::Suffix(suffix) => text.replace(suffix, " "),
                Step::Strip { content, start, stop } => {
                    let cut = text.chars().take(*start).take_while(|c| c == content).count();
                    let rest = &text[cut * content.len_utf8()..];
                    let cut = rest.chars().rev().take(*stop).take_while(|c| c == content).count();
                    rest[..rest.len() - cut * content.len_utf8()].to_owned()
                }
                Step::Ctc { pad, delimiter, clean } => {
                    let text = if pad.is_empty() { text } else { text.replace(pad, "") };
                    match clean {
                        true if !delimiter.is_empty() => cleanup(&text).replace(delimiter, " "),
                        true => cleanup(&text),
                        false => text,
                    }
                }
            };
        }
        Ok(Spelled::Text(text.into_bytes()))
    }
}

/// The one character that a `Replace` looks for, if it is one.
fn single(json: &Value) -> Option<char> {
    let literal = json.get("pattern")?.get("String")?.as_str()?;
    let mut characters = literal.chars();
    characters.next().filter(|_| characters.next().is_none())
}

fn replace(json: &Value) -> Result<Step, TextError> {
    let fault = || TextError::Tokenizer("a Replace decoder needs a pattern and its content".into());
    let content = json.get("content").and_then(Value::as_str).ok_or_else(fault)?.to_owned();
    let pattern = json.get("pattern").ok_or_else(fault)?;
    let pattern = match (pattern.get("String"), pattern.get("Regex")) {
        (Some(Value::String(literal)), None) => escape(literal)?,
        (None, Some(Value::String(regex))) => regex.clone(),
        _ => return Err(fault()),
    };
    Ok(Step::Replace { pattern: Regex::new(&pattern)?, content })
}

/// The byte of a token spelled `<0xNN>`, two hexadecimal digits exactly.
pub(super) fn byte_token(token: &str) -> Option<u8> {
    match token.as_bytes() {
        [b'<', b'0', b'x', high, low, b'>'] => {
            let (high, low) = ((*high as char).to_digit(16)?, (*low as char).to_digit(16)?);
            u8::try_from(high * 16 + low).ok()
        }
        _ => None,
    }
}

/// Characters that stand for bytes are below this.
const DECODED: usize = 0x144;

/// The byte of each character of byte-level text: printable Latin-1 stands for itself, the other 68 bytes take the
/// characters from U+0100 on, in order.
static BYTES: [Option<u8>; DECODED] = {
    let mut table = [None; DECODED];
    let (mut byte, mut next) = (0, 0x100);
    while byte < 256 {
        if matches!(byte as u8, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF) {
            table[byte] = Some(byte as u8);
        } else {
            table[next] = Some(byte as u8);
            next += 1;
        }
        byte += 1;
    }
    table
};

/// The bytes of byte-level text. What is not byte-level text stands for itself, as in the reference decoder.
fn byte_level(text: &str) -> Vec<u8> {
    let bytes: Option<Vec<u8>> = text.chars().map(|c| BYTES.get(c as usize).copied().flatten()).collect();
    bytes.unwrap_or_else(|| text.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tokenizers::Decoder;
    use tokenizers::decoders::DecoderWrapper;

    #[test]
    fn byte_level_spells_every_byte_once() {
        let mut bytes: Vec<u8> = BYTES.iter().filter_map(|byte| *byte).collect();
        bytes.sort_unstable();
        assert!(bytes.iter().copied().eq(0..=255));
    }

    /// A token between two others, and at the start, as the crate decodes it.
    #[test]
    fn each_step_equals_the_crate() {
        let strip = json!({"type": "Strip", "content": "#", "start": 1, "stop": 1});
        let regex = json!({"type": "Replace", "pattern": {"Regex": "[0-9]+"}, "content": "N"});
        let literal = json!({"type": "Replace", "pattern": {"String": "a.b"}, "content": ""});
        let never =
            json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": true});
        let decoders = [
            json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true}),
            json!({"type": "WordPiece", "prefix": "##", "cleanup": true}),
            json!({"type": "WordPiece", "prefix": "##", "cleanup": false}),
            json!({"type": "Sequence", "decoders": [regex, strip, literal, never]}),
            json!({"type": "BPEDecoder", "suffix": "</w>"}),
            json!({"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "|", "cleanup": true}),
        ];
        let tokens =
            ["▁a▁b", "##ing", "##", "###x#", "word", ".", "'s", "12ab3", "a.b", "x</w>", "<pad>y", "|", "▁"];
        for decoder in &decoders {
            let theirs: DecoderWrapper = serde_json::from_value(decoder.clone()).unwrap();
            let ours = Decoding::from_json(decoder, false).unwrap();
            let text = |token: &str, first| match ours.spell(token, first).unwrap() {
                Spelled::Text(bytes) => String::from_utf8(bytes).unwrap(),
                Spelled::Byte(_) => unreachable!(),
            };
            for token in tokens {
                let chain = ["start", token, "end"].map(str::to_owned).to_vec();
                let expected = theirs.decode_chain(chain).unwrap().concat();
                let joined = [text("start", true), text(token, false), text("end", false)].concat();
                assert_eq!(joined, expected, "{decoder} {token}");
            }
        }
    }

    #[test]
    fn what_needs_the_whole_text_is_refused() {
        let after = |step: Value| json!({"type": "Sequence", "decoders": [{"type": "Fuse"}, step]});
        for (decoder, name) in [
            (after(json!({"type": "WordPiece", "prefix": "##", "cleanup": true})), "WordPiece"),
            (after(json!({"type": "Strip", "content": " ", "start": 0, "stop": 1})), "Strip"),
            (after(json!({"type": "Replace", "pattern": {"String": "ab"}, "content": ""})), "Replace"),
            (
                json!({"type": "Sequence", "decoders": [{"type": "ByteLevel"}, {"type": "ByteFallback"}]}),
                "ByteFallback",
            ),
            (json!({"type": "Bogus"}), "Bogus"),
        ] {
            let error = Decoding::from_json(&decoder, false).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
        let bomb = json!({"type": "Replace", "pattern": {"String": ""}, "content": "x".repeat(1 << 14)});
        let bomb =
            Decoding::from_json(&json!({"type": "Sequence", "decoders": vec![bomb; 8]}), false).unwrap();
        assert!(matches!(bomb.spell("abc", false), Err(TextError::TooLarge { .. })));
    }
}
