//! What a template is given: messages and tools as its values.

use minijinja::value::{Enumerator, Object, Value};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use super::budget::Budget;
use super::marks::Marks;
use super::{Json, Message, Turn};

/// The names under which a message's reasoning comes. transformers gives it to templates under the first two.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// A message of a role and a text, as a dict.
#[derive(Debug)]
struct Plain {
    role: Value,
    content: Value,
}

impl Object for Plain {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        match key {
            "role" => Some(self.role.clone()),
            "content" => Some(self.content.clone()),
            _ => None,
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Str(&["role", "content"])
    }
}

/// As transformers does it: fields that are null are left out, and reasoning goes by all its names.
fn normalised(message: &Value) -> Vec<(Value, Value)> {
    let entries = message.as_object().and_then(|object| object.try_iter_pairs()).into_iter().flatten();
    let mut entries: Vec<_> = entries.filter(|(_, value)| !value.is_none()).collect();
    let find = |entries: &[(Value, Value)], name: &str| {
        entries.iter().find(|(key, _)| key.as_str() == Some(name)).map(|(_, value)| value.clone())
    };
    if let Some(reasoning) = REASONING.iter().find_map(|name| find(&entries, name)) {
        if find(&entries, "thinking").is_none() {
            entries.insert(0, (Value::from("thinking"), reasoning.clone()));
        }
        // Of equal keys the last value counts, at the place of the first, as in Python.
        entries.push((Value::from("reasoning_content"), reasoning));
    }
    entries
}

/// Makes values of what is given, pays for them, and marks their texts.
#[derive(Clone, Copy)]
pub(super) struct Read<'a> {
    pub(super) budget: &'a Budget,
    pub(super) marks: Option<&'a Marks<'a>>,
}

/// Heap bytes of an entry: a vector that doubles, then a hash table.
const ENTRY: usize = 3 * 48 + 112;

/// Heap bytes of an item in a vector that doubles.
const ITEM: usize = 3 * 24;

impl Read<'_> {
    /// A message as a dict.
    pub(super) fn message(self, turn: &Turn) -> Result<Value, serde_json::Error> {
        match turn {
            // Its texts are a part of the input, and not charged.
            Turn::Text(Message { role, content }) => {
                let text = |text| Value::from(&*self.marked(text));
                Ok(Value::from_object(Plain { role: text(role), content: text(content) }))
            }
            Turn::Json(json) => Ok(Value::from_pairs(normalised(&self.json(json)?))),
        }
    }

    /// Tools as a list of dicts.
    pub(super) fn tools(self, json: &Json) -> Result<Value, serde_json::Error> {
        self.json(json)
    }

    fn json(self, json: &Json) -> Result<Value, serde_json::Error> {
        self.deserialize(&mut serde_json::Deserializer::from_str(json.as_str()))
    }

    fn marked(self, text: &str) -> Cow<'_, str> {
        self.marks.map_or(Cow::Borrowed(text), |marks| marks.mark(text))
    }

    fn pay<E: serde::de::Error>(self, bytes: usize) -> Result<(), E> {
        self.budget.charge(bytes).map_err(|_| E::custom("limit"))
    }
}

impl<'de> DeserializeSeed<'de> for Read<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Read<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::from(()))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        let value = self.marked(value);
        let made = self.budget.fits(value.len()).and_then(|()| self.budget.made(Value::from(&*value)));
        made.map_err(|_| E::custom("limit"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        self.pay(ITEM)?;
        while let Some(item) = from.next_element_seed(self)? {
            self.pay(ITEM)?;
            items.push(item);
        }
        Ok(Value::from(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        self.pay(ENTRY)?;
        while let Some(entry) = map.next_entry_seed(Key(self), self)? {
            self.pay(ENTRY)?;
            entries.push(entry);
        }
        Ok(Value::from_pairs(entries))
    }
}

/// Reads a key. Those that a template can name by `.name` have no marks.
struct Key<'a>(Read<'a>);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<Value, E> {
        let name = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        Read { marks: self.0.marks.filter(|_| !name), ..self.0 }.visit_str(key)
    }
}
