//! Reading a few keys out of a JSON object of unknown size and shape.
//!
//! Only wanted keys are stored; everything else is parsed and dropped, so memory does not follow the input. Nesting
//! is bounded by serde_json's own limit, in wanted and unwanted parts alike.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::{FormatError, Result, Text};

/// The most items of a list that are kept; longer lists are refused when asked for.
const MAX_ITEMS: usize = 1024;
/// How deep values are kept: an object, one in it, one for each kind of layer in that, what describes the kind, and its
/// values.
const MAX_DEPTH: u8 = 5;

/// A kept value.
#[derive(Debug)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Whole(u64),
    Negative(i64),
    Float(f64),
    Text(String),
    List(Vec<Json>),
    Object(Fields),
    /// A value of a shape no reader has a use for.
    Dropped(&'static str),
}

/// The wanted keys of an object that were present.
#[derive(Debug, Default)]
pub(crate) struct Fields(Vec<(&'static str, Json)>);

/// The wanted keys, at every level of the object.
type Wanted = &'static [&'static str];

impl Fields {
    /// Parses `bytes` as one JSON object.
    pub(crate) fn parse(file: &str, bytes: &[u8], wanted: Wanted) -> Result<Self> {
        match parse(file, bytes, Pick { wanted, depth: MAX_DEPTH, kept: true })? {
            Json::Object(fields) => Ok(fields),
            other => Err(FormatError::malformed(file, format_args!("it is {other} and no JSON object"))),
        }
    }

    /// The value of a key; JSON's null counts as absent.
    pub(crate) fn get(&self, key: &str) -> Option<&Json> {
        let (_, value) = self.0.iter().find(|(known, _)| *known == key)?;
        (!matches!(value, Json::Null)).then_some(value)
    }

    /// Whether the key is there at all, if only as null.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(known, _)| *known == key)
    }

    /// A list of numbers.
    pub(crate) fn numbers(&self, file: &str, key: &str) -> Result<Option<Vec<f64>>> {
        self.typed(file, key, "a list of numbers", |value| match value {
            Json::List(items) => items.iter().map(as_number).collect(),
            _ => None,
        })
    }

    /// A whole number that is not negative.
    pub(crate) fn whole(&self, file: &str, key: &str) -> Result<Option<u64>> {
        self.typed(file, key, "a whole number that is not negative", |value| match value {
            Json::Whole(number) => Some(*number),
            _ => None,
        })
    }

    /// Any number; whole ones too.
    pub(crate) fn number(&self, file: &str, key: &str) -> Result<Option<f64>> {
        self.typed(file, key, "a number", as_number)
    }

    /// True or false.
    pub(crate) fn flag(&self, file: &str, key: &str) -> Result<Option<bool>> {
        self.typed(file, key, "true or false", |value| match value {
            Json::Bool(flag) => Some(*flag),
            _ => None,
        })
    }

    /// A string.
    pub(crate) fn text(&self, file: &str, key: &str) -> Result<Option<&str>> {
        self.typed(file, key, "a string", |value| match value {
            Json::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// An object.
    pub(crate) fn object(&self, file: &str, key: &str) -> Result<Option<&Fields>> {
        self.typed(file, key, "an object", |value| match value {
            Json::Object(fields) => Some(fields),
            _ => None,
        })
    }

    /// Token ids: one number, or a list of them.
    pub(crate) fn ids(&self, file: &str, key: &str) -> Result<Option<Vec<u32>>> {
        let id = |value: &Json| match value {
            Json::Whole(number) => u32::try_from(*number).ok(),
            _ => None,
        };
        self.typed(file, key, "a token id or a list of them", |value| match value {
            Json::List(items) => items.iter().map(id).collect(),
            one => id(one).map(|id| vec![id]),
        })
    }

    fn typed<'a, T>(
        &'a self,
        file: &str,
        key: &str,
        needed: &str,
        read: impl FnOnce(&'a Json) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match read(value) {
            Some(value) => Ok(Some(value)),
            None => Err(FormatError::malformed(file, format_args!("{key} is {value}; {needed} is needed"))),
        }
    }
}

fn as_number(value: &Json) -> Option<f64> {
    match value {
        Json::Whole(number) => Some(*number as f64),
        Json::Negative(number) => Some(*number as f64),
        Json::Float(number) => Some(*number),
        _ => None,
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(flag) => write!(f, "{flag}"),
            Self::Whole(number) => write!(f, "{number}"),
            Self::Negative(number) => write!(f, "{number}"),
            Self::Float(number) => write!(f, "{number:e}"),
            Self::Text(text) => write!(f, "the string {text:?}"),
            Self::List(_) => f.write_str("a list"),
            Self::Object(_) => f.write_str("an object"),
            Self::Dropped(kind) => f.write_str(kind),
        }
    }
}

/// Parses `bytes` with a seed, refusing what follows the value. Errors carry serde_json's text, bounded.
pub(crate) fn parse<'de, S: DeserializeSeed<'de>>(file: &str, bytes: &'de [u8], seed: S) -> Result<S::Value> {
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return Err(FormatError::malformed(file, "it begins with a byte order mark"));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = seed.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    value.map_err(|error| FormatError::Malformed { file: Text::new(file), what: Text::new(error) })
}

/// Reads any value; keeps it, or only checks that it is JSON.
struct Pick {
    wanted: Wanted,
    depth: u8,
    kept: bool,
}

impl Pick {
    fn inner(&self, kept: bool) -> Self {
        let depth = self.depth.saturating_sub(1);
        Self { wanted: self.wanted, depth, kept: kept && self.kept && depth > 0 }
    }

    /// For the items of a list: an object with plain values at most, so that lists do not multiply what is kept.
    fn item(&self, kept: bool) -> Self {
        let inner = self.inner(kept);
        Self { depth: inner.depth.min(2), ..inner }
    }
}

impl<'de> DeserializeSeed<'de> for Pick {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Pick {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Whole(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(u64::try_from(value).map_or(Json::Negative(value), Json::Whole))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(if self.kept { Json::Text(value.to_owned()) } else { Json::Dropped("a string") })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        let mut too_long = false;
        loop {
            let kept = self.kept && list.len() < MAX_ITEMS;
            // A list inside a list has no reader: nested lists would multiply what is kept.
            match items.next_element_seed(self.item(kept))? {
                None => break,
                Some(_) if !kept => too_long = true,
                Some(Json::List(_)) => list.push(Json::Dropped("a list")),
                Some(item) => list.push(item),
            }
        }
        Ok(if too_long { Json::Dropped("a list too long to be meant") } else { Json::List(list) })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut fields = Fields::default();
        while let Some(key) = map.next_key_seed(Key(self.wanted))? {
            let value = map.next_value_seed(self.inner(key.is_some()))?;
            let Some(key) = key.filter(|_| self.kept) else { continue };
            if fields.0.iter().any(|(known, _)| *known == key) {
                return Err(de::Error::custom(format_args!("the key {key} appears twice")));
            }
            fields.0.push((key, value));
        }
        Ok(Json::Object(fields))
    }
}

/// A key: its place among the wanted ones, or nothing.
struct Key(Wanted);

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Option<&'static str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = Option<&'static str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().find(|wanted| **wanted == key).copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: Wanted = &["a", "b", "inner"];

    fn fields(text: &str) -> Result<Fields> {
        Fields::parse("t.json", text.as_bytes(), WANTED)
    }

    #[test]
    fn wanted_keys_are_kept_at_each_level() {
        let all = fields(r#"{"a": 3, "x": [{"a": 9}], "inner": {"b": 0.5, "y": 1}, "b": null}"#).unwrap();
        assert_eq!(all.whole("t", "a").unwrap(), Some(3));
        assert_eq!(all.whole("t", "b").unwrap(), None);
        let inner = all.object("t", "inner").unwrap().unwrap();
        assert_eq!(inner.number("t", "b").unwrap(), Some(0.5));
    }

    #[test]
    fn a_wrong_type_is_named() {
        for (text, found) in [
            (r#"{"a": "12"}"#, "the string \"12\""),
            (r#"{"a": -1}"#, "-1"),
            (r#"{"a": 1e308}"#, "1e308"),
            (r#"{"a": []}"#, "a list"),
            (r#"{"a": {}}"#, "an object"),
            (r#"{"a": true}"#, "true"),
        ] {
            let error = fields(text).unwrap().whole("t", "a").unwrap_err().to_string();
            assert!(error.contains(&format!("a is {found}; a whole number")), "{error}");
        }
    }

    #[test]
    fn what_is_not_one_sound_object_is_refused() {
        let deep = "[".repeat(100_000);
        let deep_inside = format!("{{\"x\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        for text in [
            "",
            "[]",
            "3",
            "{",
            "{} {}",
            "\u{feff}{}",
            r#"{"a": 1, "a": 1}"#,
            r#"{"a": NaN}"#,
            r#"{"a": 1e999}"#,
            &deep,
            &deep_inside,
        ] {
            assert!(fields(text).is_err(), "{}", Text::new(text));
        }
        assert!(Fields::parse("t", b"{\"a\": \"\xff\"}", WANTED).is_err());
    }

    #[test]
    fn long_and_nested_lists_are_not_kept() {
        let long = format!("{{\"a\": [{}0]}}", "0,".repeat(100_000));
        assert!(matches!(fields(&long).unwrap().get("a"), Some(Json::Dropped(_))));
        let nested = fields(r#"{"a": [[1]]}"#).unwrap();
        assert!(nested.ids("t", "a").is_err());
        assert_eq!(fields(r#"{"a": [1, 2]}"#).unwrap().ids("t", "a").unwrap(), Some(vec![1, 2]));
        assert_eq!(fields(r#"{"a": 7}"#).unwrap().ids("t", "a").unwrap(), Some(vec![7]));
    }
}
