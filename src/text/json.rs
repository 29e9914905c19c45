//! JSON from outside: messages and tools. Kept as text, checked when it comes in, and read again by each rendering, which
//! pays for the values.

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::fmt;
use std::sync::Arc;

use super::error::{TextError, foreign};

/// Longest JSON text, in bytes.
pub const MAX_JSON: usize = 16 << 20;

/// Deepest nesting of its lists and objects. Values are dropped, printed and compared by recursion.
const MAX_DEPTH: usize = 32;

/// A checked JSON text. Clones share it.
#[derive(Clone, PartialEq, Eq)]
pub struct Json(Arc<str>);

impl Json {
    /// A chat message: an object with a text as its `role`, and such fields as `content`, `tool_calls`, `tool_call_id` and
    /// `name`, as the model's chat template wants them.
    ///
    /// # Errors
    /// [`TextError::Json`] with line and column; [`TextError::TooLarge`] beyond 16 MiB.
    pub fn message(text: &str) -> Result<Json, TextError> {
        Json::check("a message", text, Place::Message)
    }

    /// Tools: a list of objects that describe a function each, as the model's chat template wants them.
    ///
    /// # Errors
    /// As [`Json::message`].
    pub fn tools(text: &str) -> Result<Json, TextError> {
        Json::check("tools", text, Place::Tools)
    }

    /// The text, as it came.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn check(what: &'static str, text: &str, place: Place) -> Result<Json, TextError> {
        if text.len() > MAX_JSON {
            let (got, limit) = (text.len() as u64, MAX_JSON as u64);
            return Err(TextError::TooLarge { what: "bytes of JSON", got, limit });
        }
        let mut reader = serde_json::Deserializer::from_str(text);
        let checked = Check { place, depth: 0 }.deserialize(&mut reader).and_then(|()| reader.end());
        checked.map_err(|error| TextError::Json { what, message: foreign(&error) })?;
        Ok(Json(text.into()))
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a value has to be.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Message,
    Role,
    Tools,
    Tool,
    Anything,
}

/// Reads a value without keeping it.
#[derive(Clone, Copy)]
struct Check {
    place: Place,
    depth: usize,
}

impl Check {
    fn inside<E: Error>(self, place: Place) -> Result<Check, E> {
        match self.depth {
            MAX_DEPTH => Err(E::custom(format_args!("lists and objects nest more than {MAX_DEPTH} deep"))),
            depth => Ok(Check { place, depth: depth + 1 }),
        }
    }

    fn scalar<E: Error>(self, what: serde::de::Unexpected) -> Result<(), E> {
        match self.place {
            Place::Anything => Ok(()),
            _ => Err(E::invalid_type(what, &self)),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Check {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Check {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.place {
            Place::Message => "a message, which is an object",
            Place::Role => "a role, which is a string",
            Place::Tools => "a list of tools",
            Place::Tool => "a tool, which is an object",
            Place::Anything => "JSON",
        })
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.scalar(serde::de::Unexpected::Other("null"))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.scalar(serde::de::Unexpected::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.scalar(serde::de::Unexpected::Signed(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.scalar(serde::de::Unexpected::Unsigned(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.scalar(serde::de::Unexpected::Float(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        match self.place {
            Place::Role => Ok(()),
            _ => self.scalar(serde::de::Unexpected::Str(value)),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let inner = self.inside(match self.place {
            Place::Tools => Place::Tool,
            Place::Anything => Place::Anything,
            _ => return Err(A::Error::invalid_type(serde::de::Unexpected::Seq, &self)),
        })?;
        while items.next_element_seed(inner)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        if matches!(self.place, Place::Role | Place::Tools) {
            return Err(A::Error::invalid_type(serde::de::Unexpected::Map, &self));
        }
        let (inner, mut roles) = (self.inside(Place::Anything)?, 0);
        while let Some(is_role) = entries.next_key_seed(IsRole)? {
            let role = is_role && self.place == Place::Message;
            roles += usize::from(role);
            entries.next_value_seed(if role { Check { place: Place::Role, ..inner } } else { inner })?;
        }
        match self.place {
            Place::Message if roles == 0 => Err(A::Error::custom("the message has no role")),
            _ => Ok(()),
        }
    }
}

/// Reads a key; whether it is `role`.
struct IsRole;

impl<'de> DeserializeSeed<'de> for IsRole {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<bool, D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for IsRole {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<bool, E> {
        Ok(key == "role")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_message_or_no_tools_is_refused_with_its_place() {
        for (text, part) in [
            ("", "line 1 column 0"),
            ("{\n \"role\": \"user\",\n \"content\": x}", "line 3 column 13"),
            ("[]", "expected a message"),
            ("{}", "no role"),
            (r#"{"role": 7}"#, "expected a role"),
            (r#"{"role": null}"#, "expected a role"),
            (r#"{"role": ["user"]}"#, "expected a role"),
            (r#"{"role": {"role": "user"}}"#, "expected a role"),
            (r#"{"role": "user"} x"#, "trailing"),
            (r#"{"role": "a\u0000\ud800"}"#, "line 1 column"),
        ] {
            let error = Json::message(text).unwrap_err().to_string();
            assert!(error.starts_with("a message: ") && error.contains(part), "{text}: {error}");
        }
        for (text, part) in [
            ("null", "expected a list of tools"),
            (r#"{"type": "function"}"#, "expected a list of tools"),
            ("[{},\n3]", "expected a tool, which is an object at line 2 column 1"),
            ("[[]]", "expected a tool"),
            ("[{}", "EOF"),
        ] {
            let error = Json::tools(text).unwrap_err().to_string();
            assert!(error.starts_with("tools: ") && error.contains(part), "{text}: {error}");
        }
        assert!(Json::tools(" [ ] ").is_ok());
        assert!(
            Json::message(r#"{"role": "assistant", "content": null, "tool_calls": [{}], "n": 1.5}"#).is_ok()
        );
    }

    #[test]
    fn depth_and_length_are_bounded() {
        let nested = |n: usize| format!("[{{\"a\": {}1{}}}]", "[".repeat(n), "]".repeat(n));
        assert!(Json::tools(&nested(MAX_DEPTH - 2)).is_ok());
        for n in [MAX_DEPTH - 1, 1000, 100_000] {
            assert!(matches!(Json::tools(&nested(n)), Err(TextError::Json { .. })), "{n}");
        }
        let long = " ".repeat(MAX_JSON + 1);
        assert!(matches!(Json::tools(&long), Err(TextError::TooLarge { .. })));
    }
}
