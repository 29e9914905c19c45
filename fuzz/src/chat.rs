//! Text in and out: tokenizers and templates.

use super::halves;
use super::heap::bounded;
use plimsoll::text::{ChatTemplate, Detokenizer, Message, Tokenizer};

/// Tables that grow with the text are paid by the text, and regular expressions may have some megabytes for themselves.
const BASE: usize = 16 << 20;

fn whole(mut detokenizer: Detokenizer, ids: &[u32]) -> String {
    let mut text = String::new();
    for id in ids {
        detokenizer.push(*id, &mut text);
    }
    detokenizer.finish(&mut text);
    text
}

/// `tokenizer.json` and, after a NUL, a text.
pub fn tokenizer(bytes: &[u8]) {
    let (json, text) = halves(bytes);
    let read = bounded("tokenizer.json", json.len(), BASE, || Tokenizer::from_json(json));
    let Ok(tokenizer) = read else { return };
    // Beyond what any decoder may be asked for.
    for id in [0, tokenizer.vocab_size(), u32::MAX] {
        let _ = tokenizer.token_bytes(id);
    }
    let Ok(text) = std::str::from_utf8(text) else { return };
    let input = json.len() + text.len();
    if let Ok(ids) = bounded("encode", input, BASE, || tokenizer.encode(text, true)) {
        assert!(ids.iter().all(|id| *id < tokenizer.vocab_size()), "{ids:?}");
        let _ = whole(tokenizer.detokenizer(), &ids);
        let _ = whole(tokenizer.detokenizer().show_special(), &ids);
    }
    if let Ok(ids) = tokenizer.encode_literal(text, false) {
        let special = ids.iter().find(|id| tokenizer.is_special(**id));
        assert_eq!(special, None, "literal text became a special token");
    }
}

/// A template and, after NULs, roles and contents in turn.
pub fn template(bytes: &[u8]) {
    let (source, mut rest) = halves(bytes);
    let Ok(source) = std::str::from_utf8(source) else { return };
    let mut parts = Vec::new();
    while !rest.is_empty() && parts.len() < 64 {
        let (part, more) = halves(rest);
        let Ok(part) = std::str::from_utf8(part) else { return };
        parts.push(part);
        rest = more;
    }
    let messages: Vec<_> = parts
        .chunks(2)
        .map(|pair| Message { role: pair[0], content: pair.get(1).copied().unwrap_or_default() })
        .collect();
    let _ = bounded("template", bytes.len(), BASE, || {
        let template = ChatTemplate::new(source, Some("<s>"), Some("</s>"))?;
        template.render(&messages, true)
    });
}
