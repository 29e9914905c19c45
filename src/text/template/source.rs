//! A template's source, as the engine takes it: bounded, and with two constructs of transformers' put into its words.

use minijinja::machinery::{Token, tokenize};

use super::{TextError, rewrite};

/// Longest template, in bytes. The longest in use have 30 KB.
const MAX_SOURCE: usize = 96 << 10;

/// The name that calls of `loop.cycle` get; [`rewrite`] puts the function itself in its place.
pub(super) const CYCLE: &str = "plimsoll_loop_cycle";

/// Checks a template and makes it ready to compile.
///
/// # Errors
/// [`TextError::Template`] for a syntax error, [`TextError::TooLarge`] for more than 96 KiB.
pub(super) fn prepare(source: &str) -> Result<Box<str>, TextError> {
    if source.len() > MAX_SOURCE {
        let (got, limit) = (source.len() as u64, MAX_SOURCE as u64);
        return Err(TextError::TooLarge { what: "bytes of a chat template", got, limit });
    }
    let source = translate(&source.replace("\r\n", "\n").replace('\r', "\n"))?;
    rewrite::compile(&source)?;
    Ok(source.into())
}

/// What was read just before.
#[derive(Clone, Copy, PartialEq)]
enum Before {
    Other,
    TagStart,
    Dot,
    /// `loop`, `loop.` and `loop.cycle`, with where they begin.
    Loop(u32),
    LoopDot(u32),
    LoopCycle(u32),
}

/// `{% generation %}` marks what the assistant said, for training: here it is only a scope. And the engine's own
/// `loop.cycle` panics without arguments.
fn translate(source: &str) -> Result<String, TextError> {
    let (mut out, mut copied) = (String::with_capacity(source.len()), 0);
    let mut edit = |from: u32, to: u32, with: &str| {
        out.push_str(source.get(copied..from as usize).unwrap_or(""));
        out.push_str(with);
        copied = to as usize;
        Before::Other
    };
    let mut before = Before::Other;
    for token in tokenize(source, false, rewrite::syntax()?) {
        // The compiler gives a better message for what is no token.
        let Ok((token, span)) = token else { break };
        let (start, end) = (span.start_offset, span.end_offset);
        before = match (before, token) {
            (Before::TagStart, Token::Ident("generation")) => edit(start, end, "with"),
            (Before::TagStart, Token::Ident("endgeneration")) => edit(start, end, "endwith"),
            (Before::LoopCycle(from), Token::ParenOpen) => edit(from, end, &format!("{CYCLE}(loop.index0,")),
            (Before::LoopDot(from), Token::Ident("cycle")) => Before::LoopCycle(from),
            (Before::Loop(from), Token::Dot) => Before::LoopDot(from),
            (Before::Dot, Token::Ident("loop")) => Before::Other,
            (_, Token::Ident("loop")) => Before::Loop(start),
            (_, Token::Dot) => Before::Dot,
            (_, Token::BlockStart) => Before::TagStart,
            _ => Before::Other,
        };
    }
    out.push_str(source.get(copied..).unwrap_or(""));
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_translated() {
        for (source, expected) in [
            ("{%- generation -%} x {% endgeneration +%}", "{%- with -%} x {% endwith +%}"),
            ("{{ generation }} {% set generation = 1 %}", "{{ generation }} {% set generation = 1 %}"),
            (
                "{% raw %}{% generation %}{% endraw %}{# {% generation %} #}{% generation %}",
                "{% raw %}{% generation %}{% endraw %}{# {% generation %} #}{% with %}",
            ),
            ("é{{ loop.cycle('a', 'b') }}", "é{{ plimsoll_loop_cycle(loop.index0,'a', 'b') }}"),
            ("{{ x.loop.cycle(1) }} loop.cycle(", "{{ x.loop.cycle(1) }} loop.cycle("),
        ] {
            assert_eq!(translate(source).unwrap(), expected, "{source}");
        }
    }
}
