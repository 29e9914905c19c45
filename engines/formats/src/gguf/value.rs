//! GGUF metadata: keys with typed values.

use std::collections::BTreeMap;
use std::fmt;

use crate::gguf::cursor::Cursor;
use crate::source::reserved;
use crate::{FormatError, Result};

/// The most metadata keys a file may have; real ones have a few dozen.
const MAX_KEYS: u64 = 1 << 14;
/// The longest key, in bytes.
const MAX_KEY: u64 = 1 << 16;
/// A key's length, one byte of key, a type and one byte of value.
const MIN_KEY_RECORD: u64 = 14;
/// The longest string that is kept, in bytes.
const MAX_TEXT: u64 = 4 << 20;
/// The longest token or merge, in bytes.
const MAX_TOKEN: u64 = 1 << 16;
/// The most items of a table that is kept or has to be walked through.
const MAX_TABLE: u64 = 1 << 22;
/// The end of the keys whose table of flags, one a layer, is kept.
const FLAGS: &str = ".attention.sliding_window_pattern";
/// The most items of such a table.
const MAX_FLAGS: u64 = 512;
/// The most bytes all metadata may take. A sparse file is cheap to make long, so its length is no bound for our time.
const MAX_METADATA: u64 = 512 << 20;

/// The type of a metadata value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ValueType {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    Text,
    Array,
    U64,
    I64,
    F64,
}

impl ValueType {
    /// In the order of their numbers.
    const ALL: [(Self, &'static str, u64); 13] = [
        (Self::U8, "u8", 1),
        (Self::I8, "i8", 1),
        (Self::U16, "u16", 2),
        (Self::I16, "i16", 2),
        (Self::U32, "u32", 4),
        (Self::I32, "i32", 4),
        (Self::F32, "f32", 4),
        (Self::Bool, "bool", 1),
        (Self::Text, "string", 0),
        (Self::Array, "array", 0),
        (Self::U64, "u64", 8),
        (Self::I64, "i64", 8),
        (Self::F64, "f64", 8),
    ];

    fn read(cursor: &mut Cursor<'_>, file: &str, key: &str) -> Result<Self> {
        let number = cursor.u32()?;
        let known = Self::ALL.get(number as usize).map(|(kind, ..)| *kind);
        known.ok_or_else(|| {
            FormatError::malformed(file, format_args!("key {key:?} has the unknown type {number}"))
        })
    }

    /// Bytes of one value; `None` where they vary.
    fn size(self) -> Option<u64> {
        Some(Self::ALL[self as usize].2).filter(|size| *size > 0)
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL[*self as usize].1)
    }
}

/// A metadata value. Tables nobody reads are passed over and only described.
#[derive(Debug)]
enum Value {
    Unsigned(u64, ValueType),
    Signed(i64, ValueType),
    Float(f64, ValueType),
    Bool(bool),
    Text(String),
    SkippedText,
    Texts(Vec<String>),
    Ints(Vec<i32>),
    Floats(Vec<f32>),
    Bytes(Vec<u8>),
    Flags(Vec<bool>),
    Array { element: ValueType },
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsigned(_, kind) | Self::Signed(_, kind) | Self::Float(_, kind) => kind.fmt(f),
            Self::Bool(_) => ValueType::Bool.fmt(f),
            Self::Text(_) | Self::SkippedText => ValueType::Text.fmt(f),
            Self::Texts(_) => f.write_str("array of string"),
            Self::Ints(_) => f.write_str("array of i32"),
            Self::Floats(_) => f.write_str("array of f32"),
            Self::Bytes(_) => f.write_str("array of u8"),
            Self::Flags(_) => f.write_str("array of bool"),
            Self::Array { element } => write!(f, "array of {element}"),
        }
    }
}

/// All keys of a file. Asking for a key with another type than it has is an error that names both.
#[derive(Debug)]
pub(super) struct Metadata {
    file: String,
    values: BTreeMap<String, Value>,
}

impl Metadata {
    pub(super) fn read(cursor: &mut Cursor<'_>, file: &str, count: u64) -> Result<Self> {
        if count > MAX_KEYS {
            return Err(FormatError::too_large(file, "the number of metadata keys", count, MAX_KEYS));
        }
        let count = cursor.count(count, MIN_KEY_RECORD, "metadata keys")?;
        let mut values = BTreeMap::new();
        for _ in 0..count {
            let key = cursor.string(MAX_KEY, "a metadata key")?;
            if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(FormatError::malformed(file, format_args!("{key:?} is no metadata key")));
            }
            if values.contains_key(&key) {
                return Err(FormatError::malformed(file, format_args!("key {key:?} appears twice")));
            }
            let value = read_value(cursor, file, &key)?;
            values.insert(key, value);
            if cursor.position() > MAX_METADATA {
                let end = cursor.position();
                return Err(FormatError::too_large(
                    file,
                    "the end of the metadata in bytes",
                    end,
                    MAX_METADATA,
                ));
            }
        }
        Ok(Self { file: file.to_owned(), values })
    }

    /// A whole number that is not negative, of any width.
    pub(super) fn whole(&self, key: &str) -> Result<Option<u64>> {
        Ok(self.whole_typed(key)?.map(|(number, _)| number))
    }

    /// As [`Self::whole`], with the type it was stored as.
    pub(super) fn whole_typed(&self, key: &str) -> Result<Option<(u64, ValueType)>> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Unsigned(number, kind)) => Ok(Some((*number, *kind))),
            Some(Value::Signed(number, kind)) => match u64::try_from(*number) {
                Ok(number) => Ok(Some((number, *kind))),
                Err(_) => Err(FormatError::malformed(&self.file, format_args!("{key} is {number}"))),
            },
            Some(other) => Err(self.mismatch(key, other, "a whole number")),
        }
    }

    /// A number with a fraction.
    pub(super) fn float(&self, key: &str) -> Result<Option<f64>> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Float(number, _)) => Ok(Some(*number)),
            Some(other) => Err(self.mismatch(key, other, "f32 or f64")),
        }
    }

    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(self.mismatch(key, other, "bool")),
        }
    }

    /// Whether the key has a table for its value.
    pub(super) fn is_array(&self, key: &str) -> bool {
        matches!(
            self.values.get(key),
            Some(
                Value::Texts(_)
                    | Value::Ints(_)
                    | Value::Floats(_)
                    | Value::Bytes(_)
                    | Value::Flags(_)
                    | Value::Array { .. }
            )
        )
    }

    /// A table of flags.
    pub(super) fn flags(&self, key: &str) -> Result<Option<&[bool]>> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Flags(flags)) => Ok(Some(flags)),
            Some(other) => Err(self.mismatch(key, other, "array of bool")),
        }
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&str>> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(other) => Err(self.mismatch(key, other, "string")),
        }
    }

    /// Moves a string out.
    pub(super) fn take_text(&mut self, key: &str) -> Result<Option<String>> {
        match self.values.remove(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(other) => Err(self.mismatch(key, &other, "string")),
        }
    }

    /// Moves a table of strings out.
    pub(super) fn take_texts(&mut self, key: &str) -> Result<Option<Vec<String>>> {
        match self.values.remove(key) {
            None => Ok(None),
            Some(Value::Texts(texts)) => Ok(Some(texts)),
            Some(other) => Err(self.mismatch(key, &other, "array of string")),
        }
    }

    /// Moves a table of numbers out.
    pub(super) fn take_ints(&mut self, key: &str) -> Result<Option<Vec<i32>>> {
        match self.values.remove(key) {
            None => Ok(None),
            Some(Value::Ints(ints)) => Ok(Some(ints)),
            Some(other) => Err(self.mismatch(key, &other, "array of i32")),
        }
    }

    /// Moves a table of f32 out.
    pub(super) fn take_floats(&mut self, key: &str) -> Result<Option<Vec<f32>>> {
        match self.values.remove(key) {
            None => Ok(None),
            Some(Value::Floats(floats)) => Ok(Some(floats)),
            Some(other) => Err(self.mismatch(key, &other, "array of f32")),
        }
    }

    /// Moves a block of bytes out.
    pub(super) fn take_bytes(&mut self, key: &str) -> Result<Option<Vec<u8>>> {
        match self.values.remove(key) {
            None => Ok(None),
            Some(Value::Bytes(bytes)) => Ok(Some(bytes)),
            Some(other) => Err(self.mismatch(key, &other, "array of u8 or i8")),
        }
    }

    fn mismatch(&self, key: &str, found: &Value, needed: &str) -> FormatError {
        FormatError::malformed(&self.file, format_args!("{key} is of type {found}; {needed} is needed"))
    }
}

fn read_value(cursor: &mut Cursor<'_>, file: &str, key: &str) -> Result<Value> {
    let kind = ValueType::read(cursor, file, key)?;
    Ok(match kind {
        ValueType::U8 => Value::Unsigned(cursor.u8()?.into(), kind),
        ValueType::U16 => Value::Unsigned(u16::from_le_bytes(cursor.array()?).into(), kind),
        ValueType::U32 => Value::Unsigned(cursor.u32()?.into(), kind),
        ValueType::U64 => Value::Unsigned(cursor.u64()?, kind),
        ValueType::I8 => Value::Signed(i8::from_le_bytes(cursor.array()?).into(), kind),
        ValueType::I16 => Value::Signed(i16::from_le_bytes(cursor.array()?).into(), kind),
        ValueType::I32 => Value::Signed(i32::from_le_bytes(cursor.array()?).into(), kind),
        ValueType::I64 => Value::Signed(i64::from_le_bytes(cursor.array()?), kind),
        ValueType::F32 => Value::Float(f32::from_le_bytes(cursor.array()?).into(), kind),
        ValueType::F64 => Value::Float(f64::from_le_bytes(cursor.array()?), kind),
        ValueType::Bool => Value::Bool(read_flag(cursor, file, key)?),
        ValueType::Text if is_kept_text(key) => Value::Text(cursor.string(MAX_TEXT, "a metadata string")?),
        ValueType::Text => {
            let len = cursor.string_len()?;
            cursor.skip(len)?;
            Value::SkippedText
        }
        ValueType::Array => read_array(cursor, file, key)?,
    })
}

fn read_flag(cursor: &mut Cursor<'_>, file: &str, key: &str) -> Result<bool> {
    match cursor.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(FormatError::malformed(file, format_args!("{key} is a bool of value {other}"))),
    }
}

/// Strings a reader asks for; all others (licences, descriptions, whole tokenizer files) are passed over.
fn is_kept_text(key: &str) -> bool {
    matches!(
        key,
        "general.architecture"
            | "tokenizer.ggml.model"
            | "tokenizer.ggml.pre"
            | "tokenizer.chat_template"
            | "tokenizer.chat_template.tool_use"
    ) || key.ends_with(".rope.scaling.type")
}

fn read_array(cursor: &mut Cursor<'_>, file: &str, key: &str) -> Result<Value> {
    let element = ValueType::read(cursor, file, key)?;
    let count = cursor.u64()?;
    if element == ValueType::Array {
        return Err(FormatError::unsupported(file, format_args!("the array of arrays {key:?}")));
    }
    // A string takes at least its length.
    let len = cursor.count(count, element.size().unwrap_or(8), "array items")?;
    let kept = matches!(
        (key, element),
        ("tokenizer.ggml.tokens" | "tokenizer.ggml.merges", ValueType::Text)
            | ("tokenizer.ggml.token_type", ValueType::I32)
            | ("tokenizer.ggml.scores", ValueType::F32)
            | ("tokenizer.ggml.precompiled_charsmap", ValueType::U8 | ValueType::I8)
    );
    let flags = element == ValueType::Bool && key.ends_with(FLAGS);
    if flags && count > MAX_FLAGS {
        return Err(FormatError::too_large(file, format_args!("the length of {key}"), count, MAX_FLAGS));
    }
    if (kept || element == ValueType::Text) && count > MAX_TABLE {
        return Err(FormatError::too_large(file, format_args!("the length of {key}"), count, MAX_TABLE));
    }
    match element.size() {
        Some(1) if kept => {
            let mut bytes = reserved(len, "a block of bytes")?;
            for _ in 0..len {
                bytes.push(cursor.u8()?);
            }
            Ok(Value::Bytes(bytes))
        }
        Some(_) if kept && element == ValueType::F32 => {
            let mut floats = reserved(len, "a table of numbers")?;
            for _ in 0..len {
                floats.push(f32::from_le_bytes(cursor.array()?));
            }
            Ok(Value::Floats(floats))
        }
        Some(_) if flags => {
            let mut list = reserved(len, "a table of flags")?;
            for _ in 0..len {
                list.push(read_flag(cursor, file, key)?);
            }
            Ok(Value::Flags(list))
        }
        Some(_) if kept => {
            let mut ints = reserved(len, "a table of numbers")?;
            for _ in 0..len {
                ints.push(i32::from_le_bytes(cursor.array()?));
            }
            Ok(Value::Ints(ints))
        }
        // The product was checked against the bytes left.
        Some(size) => cursor.skip(count * size).map(|()| Value::Array { element }),
        None if kept => {
            let mut texts = reserved(len, "a table of strings")?;
            for _ in 0..len {
                texts.push(cursor.string(MAX_TOKEN, "a token")?);
            }
            Ok(Value::Texts(texts))
        }
        None => {
            for _ in 0..len {
                let len = cursor.string_len()?;
                cursor.skip(len)?;
            }
            Ok(Value::Array { element })
        }
    }
}
