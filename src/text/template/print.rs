//! Values as text: as Python's `str` and `repr` show them, and as its `json.dumps` writes them.

use minijinja::Error;
use minijinja::value::{ObjectRepr, Value, ValueKind};
use std::fmt::Write;

use super::budget::{Budget, Writer, refused};

/// As `str(value)`; an undefined value is empty.
pub(super) fn display(budget: &Budget, value: &Value, out: &mut Writer) -> Result<(), Error> {
    match value.as_str() {
        Some(text) => Ok(out.write_str(text)?),
        None if value.as_object().is_none() => scalar(value, out),
        None => {
            // Bounds the recursion.
            budget.visit(value)?;
            repr(value, out)
        }
    }
}

fn repr(value: &Value, out: &mut Writer) -> Result<(), Error> {
    if let Some(text) = value.as_str() {
        return quote(text, out);
    }
    let Some(object) = value.as_object() else { return scalar(value, out) };
    match object.repr() {
        ObjectRepr::Map => {
            let entries = object.try_iter_pairs().into_iter().flatten();
            joined(out, ("{", "}"), entries, |(key, value), out| {
                repr(&key, out)?;
                out.write_str(": ")?;
                repr(&value, out)
            })
        }
        ObjectRepr::Seq | ObjectRepr::Iterable => {
            let ends = match (value.is_tuple(), value.len()) {
                (true, Some(1)) => ("(", ",)"),
                (true, _) => ("(", ")"),
                _ => ("[", "]"),
            };
            joined(out, ends, object.try_iter().into_iter().flatten(), |item, out| repr(&item, out))
        }
        _ => Ok(write!(out, "{value}")?),
    }
}

/// What is neither text nor holds other values.
fn scalar(value: &Value, out: &mut Writer) -> Result<(), Error> {
    match float(value) {
        Some(number) => Ok(out.write_str(&float_text(number, ["nan", "inf", "-inf"]))?),
        None => Ok(write!(out, "{value}")?),
    }
}

fn float(value: &Value) -> Option<f64> {
    if value.is_number() && !value.is_integer() { f64::try_from(value.clone()).ok() } else { None }
}

/// A number as Python shows it: the fewest digits that give the same number again, with an exponent for the very small
/// and the very large.
fn float_text(number: f64, [nan, inf, minus_inf]: [&str; 3]) -> String {
    if !number.is_finite() {
        let text = if number.is_nan() {
            nan
        } else if number > 0.0 {
            inf
        } else {
            minus_inf
        };
        return text.to_owned();
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>().unwrap_or(0) {
        exponent @ ..-4 => format!("{digits}e-{:02}", -exponent),
        exponent @ 16.. => format!("{digits}e+{exponent:02}"),
        _ if number.fract() == 0.0 => format!("{number}.0"),
        _ => format!("{number}"),
    }
}

fn joined<T>(
    out: &mut Writer,
    (open, close): (&str, &str),
    items: impl Iterator<Item = T>,
    mut write: impl FnMut(T, &mut Writer) -> Result<(), Error>,
) -> Result<(), Error> {
    out.write_str(open)?;
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.write_str(", ")?;
        }
        write(item, out)?;
    }
    Ok(out.write_str(close)?)
}

/// A string as Python's `repr` quotes it.
fn quote(text: &str, out: &mut Writer) -> Result<(), Error> {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.write_char(quote)?;
    for c in text.chars() {
        match c {
            '\n' => out.write_str("\\n")?,
            '\r' => out.write_str("\\r")?,
            '\t' => out.write_str("\\t")?,
            '\\' => out.write_str("\\\\")?,
            c if c == quote => write!(out, "\\{c}")?,
            c if (c as u32) < 0x100 && c.is_control() => write!(out, "\\x{:02x}", c as u32)?,
            c => out.write_char(c)?,
        }
    }
    Ok(out.write_char(quote)?)
}

/// How `tojson` writes.
pub(super) struct Style<'a> {
    /// What a line is indented by, for each level; everything on one line without.
    pub(super) indent: Option<Indent<'a>>,
    /// Between items, and between a key and its value.
    pub(super) separators: (&'a str, &'a str),
    /// Whether only ASCII is written as it is.
    pub(super) ascii: bool,
    /// Whether objects are written in the order of their keys.
    pub(super) sorted: bool,
}

/// An indentation: spaces, or any text.
#[derive(Clone, Copy)]
pub(super) enum Indent<'a> {
    /// So many spaces.
    Spaces(usize),
    /// This text.
    Text(&'a str),
}

/// As transformers' `tojson`, which is Python's `json.dumps`, without escapes for HTML.
pub(super) fn json(budget: &Budget, value: &Value, style: &Style, out: &mut Writer) -> Result<(), Error> {
    // Bounds the recursion, and the lists of entries.
    let shape = budget.visit(value)?;
    budget.fits(shape.nodes * 64)?;
    json_at(value, style, 0, out)
}

fn json_at(value: &Value, style: &Style, depth: usize, out: &mut Writer) -> Result<(), Error> {
    match value.kind() {
        ValueKind::None | ValueKind::Bool | ValueKind::Number => json_scalar(value, out),
        ValueKind::String => json_text(value.as_str().unwrap_or(""), style, out),
        ValueKind::Seq => {
            let items = value.try_iter()?;
            container(out, ('[', ']'), style, depth, items, |item, out| json_at(&item, style, depth + 1, out))
        }
        ValueKind::Map => {
            let entries = value.as_object().and_then(|object| object.try_iter_pairs()).into_iter().flatten();
            let mut entries: Vec<_> = entries.collect();
            if style.sorted {
                entries.sort_by(|(a, _), (b, _)| a.cmp(b));
            }
            container(out, ('{', '}'), style, depth, entries.into_iter(), |(key, value), out| {
                json_key(&key, style, out)?;
                out.write_str(style.separators.1)?;
                json_at(&value, style, depth + 1, out)
            })
        }
        _ => Err(refused("a value has no form in JSON")),
    }
}

fn json_scalar(value: &Value, out: &mut Writer) -> Result<(), Error> {
    match (value.kind(), float(value)) {
        (ValueKind::None, _) => out.write_str("null")?,
        (ValueKind::Bool, _) => out.write_str(if value.is_true() { "true" } else { "false" })?,
        (_, Some(number)) => out.write_str(&float_text(number, ["NaN", "Infinity", "-Infinity"]))?,
        (_, None) => write!(out, "{value}")?,
    }
    Ok(())
}

/// Keys that are no strings are written as strings.
fn json_key(key: &Value, style: &Style, out: &mut Writer) -> Result<(), Error> {
    match key.kind() {
        ValueKind::String => json_text(key.as_str().unwrap_or(""), style, out),
        ValueKind::None | ValueKind::Bool | ValueKind::Number => {
            out.write_char('"')?;
            json_scalar(key, out)?;
            Ok(out.write_char('"')?)
        }
        _ => Err(refused("a key of a JSON object is not a string")),
    }
}

fn container<T>(
    out: &mut Writer,
    (open, close): (char, char),
    style: &Style,
    depth: usize,
    items: impl Iterator<Item = T>,
    mut write: impl FnMut(T, &mut Writer) -> Result<(), Error>,
) -> Result<(), Error> {
    out.write_char(open)?;
    let mut empty = true;
    for item in items {
        if !empty {
            out.write_str(style.separators.0)?;
        }
        empty = false;
        line(style, depth + 1, out)?;
        write(item, out)?;
    }
    if !empty {
        line(style, depth, out)?;
    }
    Ok(out.write_char(close)?)
}

/// A new line, if there are lines.
fn line(style: &Style, depth: usize, out: &mut Writer) -> Result<(), Error> {
    let Some(indent) = style.indent else { return Ok(()) };
    out.write_char('\n')?;
    match indent {
        Indent::Spaces(width) => spaces(width.saturating_mul(depth), out),
        Indent::Text(text) => Ok((0..depth).try_for_each(|_| out.write_str(text))?),
    }
}

/// Writes spaces one by one, so that the budget stops it in time.
pub(super) fn spaces(count: usize, out: &mut Writer) -> Result<(), Error> {
    Ok((0..count).try_for_each(|_| out.write_char(' '))?)
}

fn json_text(text: &str, style: &Style, out: &mut Writer) -> Result<(), Error> {
    out.write_char('"')?;
    let mut rest = text;
    let escaped = |c: char| c < ' ' || matches!(c, '"' | '\\') || (style.ascii && c > '~');
    while let Some(at) = rest.find(escaped) {
        out.write_str(&rest[..at])?;
        let mut chars = rest[at..].chars();
        match chars.next() {
            Some(c @ ('"' | '\\')) => write!(out, "\\{c}")?,
            Some('\n') => out.write_str("\\n")?,
            Some('\r') => out.write_str("\\r")?,
            Some('\t') => out.write_str("\\t")?,
            Some('\u{8}') => out.write_str("\\b")?,
            Some('\u{c}') => out.write_str("\\f")?,
            Some(c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}")?;
                }
            }
            None => {}
        }
        rest = chars.as_str();
    }
    out.write_str(rest)?;
    Ok(out.write_char('"')?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected: Python's `repr`.
    #[test]
    fn floats() {
        for (number, expected) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (0.1, "0.1"),
            (-2.5e-4, "-0.00025"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1.5e-7, "1.5e-07"),
            (123_456_789_012_345.0, "123456789012345.0"),
            (1e15, "1000000000000000.0"),
            (9_999_999_999_999_998.0, "9999999999999998.0"),
            (1e16, "1e+16"),
            (1.234e100, "1.234e+100"),
            (5e-324, "5e-324"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(float_text(number, ["nan", "inf", "-inf"]), expected);
        }
    }
}
