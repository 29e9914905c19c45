//! The header of a safetensors file: a length, a JSON object of tensors, then their bytes without gaps.

use std::collections::HashSet;
use std::fmt;
use std::io::{self, BufReader, Read};

use safetensors::tensor::{Dtype as Stored, Metadata, TensorInfo as StoredTensor};
use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::hf::index::MAX_TENSORS;
use crate::source::Source;
use crate::{Dtype, FormatError, Result, TensorInfo, Text};

/// The longest header, in bytes; the format's own limit.
const MAX_HEADER: u64 = 100_000_000;
/// The bytes of the header's length.
const PREFIX: u64 = 8;
/// The most dimensions of a tensor.
const MAX_RANK: usize = 8;
/// The longest name of a tensor, in bytes.
const MAX_NAME: usize = 1024;
/// How much of the header is read at once.
const BUFFER: usize = 64 << 10;

/// Reads the tensors of a safetensors file, ordered by offset; [`TensorInfo::file`] is 0. `name` is for messages.
/// The header is parsed as it is read, so its length costs no memory by itself.
///
/// # Errors
/// When the header is malformed, the tensors do not cover the rest of the file exactly, or one is of another type
/// than F32, F16 and BF16.
pub fn parse_header(source: &dyn Source, name: &str) -> Result<Vec<TensorInfo>> {
    let file_len = source.len();
    if file_len < PREFIX {
        return Err(FormatError::malformed(name, format_args!("its {file_len} bytes hold no header")));
    }
    let mut prefix = [0; PREFIX as usize];
    source.read_exact_at(0, &mut prefix)?;
    let header_len = u64::from_le_bytes(prefix);
    if header_len > MAX_HEADER {
        return Err(FormatError::too_large(name, "the header in bytes", header_len, MAX_HEADER));
    }
    let data = PREFIX + header_len;
    if data > file_len {
        let what = format_args!("its header of {header_len} bytes is longer than the file's {file_len}");
        return Err(FormatError::malformed(name, what));
    }

    let mut entries = read_entries(source, name, data)?;
    entries.sort_by_key(|(_, entry)| entry.data_offsets);
    let mut seen = HashSet::new();
    if let Some((twice, _)) = entries.iter().find(|(tensor, _)| !seen.insert(tensor.as_str())) {
        return Err(FormatError::malformed(name, format_args!("tensor {twice:?} occurs twice")));
    }
    drop(seen);

    let mut tensors = Vec::with_capacity(entries.len());
    let mut stored = Vec::with_capacity(entries.len());
    for (tensor, entry) in entries {
        let (dtype, stored_as) = match &entry.dtype {
            StoredType::Known(dtype, stored_as) => (*dtype, *stored_as),
            StoredType::Other(other) => {
                let what = format_args!("tensor {tensor:?} of type {other}; F32, F16 and BF16 are read");
                return Err(FormatError::unsupported(name, what));
            }
        };
        let (start, end) = entry.data_offsets;
        tensors.push(TensorInfo {
            name: tensor.clone(),
            dtype,
            shape: entry.shape.0.iter().map(|dim| *dim as u64).collect(),
            file: 0,
            // Both are checked below, before anyone sees them.
            offset: data.saturating_add(start as u64),
            bytes: (end as u64).saturating_sub(start as u64),
        });
        stored.push((
            tensor,
            StoredTensor { dtype: stored_as, shape: entry.shape.0, data_offsets: (start, end) },
        ));
    }
    // Checks that offsets begin at 0, leave no gap, and that each range is as long as shape and type make it.
    let metadata = Metadata::new(None, stored).map_err(|error| FormatError::malformed(name, error))?;
    let covered = metadata.data_len() as u64;
    if covered != file_len - data {
        let found = file_len - data;
        let what = format_args!("its tensors take {covered} bytes, but {found} follow the header");
        return Err(FormatError::malformed(name, what));
    }
    Ok(tensors)
}

fn read_entries(source: &dyn Source, name: &str, end: u64) -> Result<Vec<(String, Entry)>> {
    let mut window = Window { source, at: PREFIX, end, failed: None };
    let mut json = serde_json::Deserializer::from_reader(BufReader::with_capacity(BUFFER, &mut window));
    let parsed = Entries::deserialize(&mut json).and_then(|entries| json.end().map(|()| entries));
    drop(json);
    match (parsed, window.failed) {
        (_, Some(error)) => Err(error),
        (Ok(entries), None) => Ok(entries.0),
        (Err(error), None) => Err(FormatError::Malformed { file: Text::new(name), what: Text::new(error) }),
    }
}

/// A stretch of a source as a stream. A failed read is kept, because JSON errors cannot carry it.
struct Window<'a> {
    source: &'a dyn Source,
    at: u64,
    end: u64,
    failed: Option<FormatError>,
}

impl Read for Window<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = (self.end - self.at).min(out.len() as u64) as usize;
        if let Err(error) = self.source.read_exact_at(self.at, &mut out[..n]) {
            self.failed = Some(error);
            return Err(io::Error::from(io::ErrorKind::Other));
        }
        self.at += n as u64;
        Ok(n)
    }
}

/// All tensors of a header, in its order.
struct Entries(Vec<(String, Entry)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
        let mut entries = Vec::new();
        let mut annotated = false;
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                map.next_value::<Annotations>()?;
                if std::mem::replace(&mut annotated, true) {
                    return Err(de::Error::duplicate_field("__metadata__"));
                }
                continue;
            }
            if name.is_empty() || name.len() > MAX_NAME {
                return Err(de::Error::custom(format_args!("a tensor's name has {} bytes", name.len())));
            }
            if entries.len() == MAX_TENSORS {
                return Err(de::Error::custom(format_args!("it has more than {MAX_TENSORS} tensors")));
            }
            let entry = map.next_value::<Entry>().map_err(|error| {
                let (name, error) = (Text::new(format_args!("{name:?}")), Text::new(error));
                de::Error::custom(format_args!("tensor {name}: {error}"))
            })?;
            entries.push((name, entry));
        }
        Ok(Entries(entries))
    }
}

#[derive(Deserialize)]
struct Entry {
    dtype: StoredType,
    shape: Dims,
    data_offsets: (usize, usize),
}

/// A type name; unknown ones are kept for the message that names their tensor.
enum StoredType {
    Known(Dtype, Stored),
    Other(Text),
}

impl<'de> Deserialize<'de> for StoredType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;
        impl Visitor<'_> for Name {
            type Value = StoredType;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a type")
            }

            fn visit_str<E>(self, name: &str) -> Result<StoredType, E> {
                Ok(match name {
                    "F32" => StoredType::Known(Dtype::F32, Stored::F32),
                    "F16" => StoredType::Known(Dtype::F16, Stored::F16),
                    "BF16" => StoredType::Known(Dtype::BF16, Stored::BF16),
                    other => StoredType::Other(Text::new(other)),
                })
            }
        }
        deserializer.deserialize_str(Name)
    }
}

/// The dimensions of a tensor, few by construction.
struct Dims(Vec<usize>);

impl<'de> Deserialize<'de> for Dims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Dims;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {MAX_RANK} dimensions")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Dims, A::Error> {
                let mut dims = Vec::new();
                while let Some(dim) = items.next_element()? {
                    if dims.len() == MAX_RANK {
                        return Err(de::Error::invalid_length(MAX_RANK + 1, &self));
                    }
                    dims.push(dim);
                }
                Ok(Dims(dims))
            }
        }
        deserializer.deserialize_seq(List)
    }
}

/// The exporter's notes: strings by name, checked to be that and dropped.
struct Annotations;

impl<'de> Deserialize<'de> for Annotations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map;
        impl<'de> Visitor<'de> for Map {
            type Value = Annotations;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Annotations, A::Error> {
                while map.next_entry::<IgnoredAny, AnyText>()?.is_some() {}
                Ok(Annotations)
            }
        }
        deserializer.deserialize_map(Map)
    }
}

struct AnyText;

impl<'de> Deserialize<'de> for AnyText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = AnyText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E>(self, _: &str) -> Result<AnyText, E> {
                Ok(AnyText)
            }
        }
        deserializer.deserialize_str(Any)
    }
}

#[cfg(test)]
mod tests;
