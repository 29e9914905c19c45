//! `model.safetensors.index.json`: which file of the folder has which tensor.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::{FormatError, Result, Text, json};

const FILE: &str = "model.safetensors.index.json";
/// The most files a model may be split into.
const MAX_SHARDS: usize = 1024;
/// The most tensors a model may have; the largest supported one has half of it.
pub(super) const MAX_TENSORS: usize = 1 << 14;

/// The parts of a split model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    /// The files, sorted; plain names without any folder.
    pub shards: Vec<String>,
    /// For each tensor, the index of its file in `shards`.
    pub weight_map: BTreeMap<String, usize>,
}

/// Reads the bytes of an index.
///
/// # Errors
/// When it is no JSON object with a `weight_map`, a tensor occurs twice, or a file's name is not plain.
pub fn parse(bytes: &[u8]) -> Result<Index> {
    json::parse(FILE, bytes, Top)?
        .ok_or_else(|| FormatError::malformed(FILE, "the key weight_map is missing"))
}

/// A name that stays inside the folder whatever it is joined to.
fn is_plain(name: &str) -> bool {
    let odd = |c: char| c == '/' || c == '\\' || c.is_control();
    name.len() <= 255 && name.ends_with(".safetensors") && !name.starts_with('.') && !name.contains(odd)
}

/// The whole object.
struct Top;

impl<'de> DeserializeSeed<'de> for Top {
    type Value = Option<Index>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Top {
    type Value = Option<Index>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with a weight_map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        #[derive(Deserialize, PartialEq)]
        #[serde(field_identifier, rename_all = "snake_case")]
        enum Key {
            WeightMap,
            #[serde(other)]
            Other,
        }
        let mut index = None;
        while let Some(key) = map.next_key::<Key>()? {
            if key == Key::Other {
                map.next_value::<IgnoredAny>()?;
            } else if index.replace(map.next_value_seed(WeightMap)?).is_some() {
                return Err(de::Error::duplicate_field("weight_map"));
            }
        }
        Ok(index)
    }
}

/// The object of tensors and files.
struct WeightMap;

impl<'de> DeserializeSeed<'de> for WeightMap {
    type Value = Index;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Index, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for WeightMap {
    type Value = Index;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors and their files")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Index, A::Error> {
        let mut order = BTreeMap::new();
        let mut weight_map = BTreeMap::new();
        while let Some((tensor, shard)) = map.next_entry::<String, String>()? {
            if !is_plain(&shard) {
                let shard = Text::new(format_args!("{shard:?}"));
                return Err(de::Error::custom(format_args!(
                    "{shard} is no plain name of a safetensors file"
                )));
            }
            let next = order.len();
            let number = *order.entry(shard).or_insert(next);
            if order.len() > MAX_SHARDS {
                return Err(de::Error::custom(format_args!("it names more than {MAX_SHARDS} files")));
            }
            if weight_map.len() == MAX_TENSORS {
                return Err(de::Error::custom(format_args!("it names more than {MAX_TENSORS} tensors")));
            }
            if weight_map.contains_key(&tensor) {
                let tensor = Text::new(format_args!("{tensor:?}"));
                return Err(de::Error::custom(format_args!("tensor {tensor} occurs twice")));
            }
            weight_map.insert(tensor, number);
        }
        // From the order of appearance to the order of names, which does not depend on who wrote the index.
        let mut sorted = vec![0; order.len()];
        for (place, first_seen) in order.values().enumerate() {
            sorted[*first_seen] = place;
        }
        for number in weight_map.values_mut() {
            *number = sorted[*number];
        }
        Ok(Index { shards: order.into_keys().collect(), weight_map })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &str) -> Result<Index> {
        parse(
            format!(r#"{{"metadata": {{"total_size": 9, "x": [[]]}}, "weight_map": {{{entries}}}}}"#)
                .as_bytes(),
        )
    }

    #[test]
    fn tensors_point_at_sorted_files() {
        let index = map(r#""a": "2.safetensors", "b": "1.safetensors", "c": "2.safetensors""#).unwrap();
        assert_eq!(index.shards, ["1.safetensors", "2.safetensors"]);
        assert_eq!(index.weight_map.values().copied().collect::<Vec<_>>(), [1, 0, 1]);
    }

    #[test]
    fn names_that_leave_the_folder_are_refused() {
        for name in [
            "../../etc/passwd",
            "/etc/passwd",
            "a/../../b.safetensors",
            "../b.safetensors",
            "a/b.safetensors",
            "a\\\\b.safetensors",
            "..safetensors/..",
            ".safetensors",
            "a\\u0000.safetensors",
            "a\\n.safetensors",
            "pytorch_model.bin",
            "",
        ] {
            let error = map(&format!(r#""t": "{name}""#)).unwrap_err().to_string();
            assert!(error.contains("no plain name"), "{name}: {error}");
        }
    }

    #[test]
    fn counts_are_bounded_and_tensors_unique() {
        let entries = |n: usize, shard: fn(usize) -> usize| {
            let all: Vec<_> = (0..n).map(|i| format!("\"{i}\": \"{}.safetensors\"", shard(i))).collect();
            map(&all.join(","))
        };
        assert!(entries(MAX_SHARDS, |i| i).is_ok());
        assert!(entries(MAX_SHARDS + 1, |i| i).unwrap_err().to_string().contains("files"));
        assert!(entries(MAX_TENSORS + 1, |_| 0).unwrap_err().to_string().contains("tensors"));
        let twice = map(r#""a": "1.safetensors", "a": "2.safetensors""#).unwrap_err();
        assert!(twice.to_string().contains("twice"), "{twice}");
    }

    #[test]
    fn what_is_no_index_is_refused() {
        for text in
            ["", "{}", "[]", r#"{"weight_map": 3}"#, r#"{"weight_map": {"a": 3}}"#, r#"{"weight_map": {}"#]
        {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
