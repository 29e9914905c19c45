//! Values as text: as Python's `str` and `repr` show them, and as its `json.dumps` writes them.

use minijinja::Error;
use minijinja::value::{ObjectRepr, Value, ValueKind};
use std::fmt::Write;

use super::budget::{Budget, Writer, refused};

/// As `str(value)`; an undefined value is empty.
pub(super) fn display(budget: &Budget, value: &Value, out: &mut Writer) -> Result<(), Error> {
    match value.as_str() {
        Some(text) => Ok(out.write_str(text)?),
        None if value.as_object().is_none() => Ok(write!(out, "{value}")?),
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
    let Some(object) = value.as_object() else { return Ok(write!(out, "{value}")?) };
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

/// As transformers' `tojson`: `json.dumps(value, ensure_ascii=False)`, without escapes for HTML.
pub(super) fn json(
    budget: &Budget,
    value: &Value,
    indent: Option<usize>,
    out: &mut Writer,
) -> Result<(), Error> {
    // Bounds the recursion.
    budget.visit(value)?;
    json_at(value, indent, 0, out)
}

fn json_at(value: &Value, indent: Option<usize>, depth: usize, out: &mut Writer) -> Result<(), Error> {
    match value.kind() {
        ValueKind::None => Ok(out.write_str("null")?),
        ValueKind::Bool => Ok(out.write_str(if value.is_true() { "true" } else { "false" })?),
        ValueKind::Number => number(value, out),
        ValueKind::String => json_text(value.as_str().unwrap_or(""), out),
        ValueKind::Seq => {
            let items = value.try_iter()?;
            container(out, ('[', ']'), indent, depth, items, |item, out| {
                json_at(&item, indent, depth + 1, out)
            })
        }
        ValueKind::Map => {
            let entries = value.as_object().and_then(|object| object.try_iter_pairs()).into_iter().flatten();
            container(out, ('{', '}'), indent, depth, entries, |(key, value), out| {
                let key = key.as_str().ok_or_else(|| refused("a key of a JSON object is not a string"))?;
                json_text(key, out)?;
                out.write_str(": ")?;
                json_at(&value, indent, depth + 1, out)
            })
        }
        _ => Err(refused("a value has no form in JSON")),
    }
}

fn number(value: &Value, out: &mut Writer) -> Result<(), Error> {
    let float = if value.is_integer() { 0.0 } else { f64::try_from(value.clone())? };
    if float.is_nan() {
        out.write_str("NaN")?;
    } else if float.is_infinite() {
        out.write_str(if float > 0.0 { "Infinity" } else { "-Infinity" })?;
    } else {
        write!(out, "{value}")?;
    }
    Ok(())
}

fn container<T>(
    out: &mut Writer,
    (open, close): (char, char),
    indent: Option<usize>,
    depth: usize,
    items: impl Iterator<Item = T>,
    mut write: impl FnMut(T, &mut Writer) -> Result<(), Error>,
) -> Result<(), Error> {
    out.write_char(open)?;
    let mut empty = true;
    for item in items {
        match (empty, indent) {
            (true, None) => {}
            (false, None) => out.write_str(", ")?,
            (_, Some(indent)) => {
                out.write_str(if empty { "\n" } else { ",\n" })?;
                spaces(indent.saturating_mul(depth + 1), out)?;
            }
        }
        empty = false;
        write(item, out)?;
    }
    if let (false, Some(indent)) = (empty, indent) {
        out.write_char('\n')?;
        spaces(indent.saturating_mul(depth), out)?;
    }
    Ok(out.write_char(close)?)
}

/// Writes spaces one by one, so that the budget stops it in time.
pub(super) fn spaces(count: usize, out: &mut Writer) -> Result<(), Error> {
    Ok((0..count).try_for_each(|_| out.write_char(' '))?)
}

fn json_text(text: &str, out: &mut Writer) -> Result<(), Error> {
    out.write_char('"')?;
    let mut start = 0;
    for (at, byte) in
        text.bytes().enumerate().filter(|&(_, byte)| byte < 0x20 || matches!(byte, b'"' | b'\\'))
    {
        out.write_str(&text[start..at])?;
        start = at + 1;
        match byte {
            b'"' | b'\\' => write!(out, "\\{}", byte as char)?,
            b'\n' => out.write_str("\\n")?,
            b'\r' => out.write_str("\\r")?,
            b'\t' => out.write_str("\\t")?,
            0x08 => out.write_str("\\b")?,
            0x0c => out.write_str("\\f")?,
            byte => write!(out, "\\u{byte:04x}")?,
        }
    }
    out.write_str(&text[start..])?;
    Ok(out.write_char('"')?)
}
