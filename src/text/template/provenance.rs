//! What of a rendered conversation came from its messages.

use super::marks::{Marks, Scope, harmless};
use crate::text::controls::{Controls, Rendered};
use crate::text::error::TextError;
use std::collections::HashSet;

/// Renders a conversation so that it is known what came from its messages. `render` renders it, with the marks on its
/// messages if there are any; `named` are the texts that the template names, `taken` the characters that cannot be marks.
///
/// The text is the one without marks, if the template wrote the same control tokens with them. It can be another one only
/// for messages that spell a control token, and a template that looks for it.
pub(super) fn rendered<'a>(
    controls: &Controls,
    named: impl Iterator<Item = &'a str>,
    mut taken: HashSet<char>,
    render: impl Fn(Option<&Marks>) -> Result<String, TextError>,
) -> Result<Rendered, TextError> {
    let plain = render(None)?;
    let harmless = harmless(named, controls);
    let full = marked(controls, Scope::AllBut(&harmless), &mut taken, &render)?;
    if full.text() == plain {
        return Ok(full);
    }
    // The template looked at what was marked. Fewer marks change less, but let it make a control token of the parts of a
    // message: then it writes others than with all marks.
    let written = |rendered: &Rendered| -> Vec<String> {
        let places = controls.find(rendered).0.into_iter();
        places.map(|place| rendered.text()[place].to_owned()).collect()
    };
    match marked(controls, Scope::Whole, &mut taken, &render) {
        Ok(whole) if whole.text() == plain && written(&whole) == written(&full) => Ok(whole),
        _ => Ok(full),
    }
}

fn marked(
    controls: &Controls,
    scope: Scope,
    taken: &mut HashSet<char>,
    render: impl Fn(Option<&Marks>) -> Result<String, TextError>,
) -> Result<Rendered, TextError> {
    let none_left = || TextError::Encode("the messages have every character that could mark theirs".into());
    // All messages are seen by the first rendering, so there is no third one.
    for _ in 0..2 {
        let marks = Marks::new(controls, scope, taken).ok_or_else(none_left)?;
        let text = render(Some(&marks));
        match marks.clash() {
            Some(more) => taken.extend(more),
            None => return Ok(marks.unmark(&text?)),
        }
    }
    Err(none_left())
}
