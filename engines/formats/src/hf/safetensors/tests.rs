use proptest::prelude::*;

use super::parse_header;
use crate::testing::{safetensors, safetensors_raw};
use crate::{Dtype, FormatError, TensorInfo};

fn parse(bytes: &[u8]) -> Result<Vec<TensorInfo>, FormatError> {
    parse_header(&bytes, "t.safetensors")
}

fn header(text: &str, data: usize) -> Result<Vec<TensorInfo>, FormatError> {
    parse(&safetensors_raw(text, data))
}

fn entry(dtype: &str, shape: &str, offsets: &str) -> String {
    format!(r#"{{"t":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
}

fn good() -> Vec<u8> {
    safetensors(&[("a".into(), vec![2, 3]), ("b".into(), vec![4]), ("c".into(), vec![1, 1])])
}

#[test]
fn a_sound_file_is_described() {
    let bytes = good();
    let tensors = parse(&bytes).unwrap();
    let data = bytes.len() as u64 - 44;
    let b = TensorInfo {
        name: "b".into(),
        dtype: Dtype::F32,
        shape: vec![4],
        file: 0,
        offset: data + 24,
        bytes: 16,
    };
    assert_eq!(tensors.len(), 3);
    assert_eq!(tensors[1], b);
    assert_eq!(parse(&safetensors_raw("{}      ", 0)).unwrap(), []);
    let f16 = header(&entry("F16", "[2]", "[0,4]"), 4).unwrap();
    assert_eq!((f16[0].dtype, f16[0].bytes), (Dtype::F16, 4));
}

#[test]
fn order_in_the_header_is_free() {
    let text = r#"{"b":{"dtype":"BF16","shape":[2],"data_offsets":[4,8]},"a":{"data_offsets":[0,4],"dtype":"F32","shape":[]}}"#;
    let tensors = header(text, 8).unwrap();
    assert_eq!((tensors[0].name.as_str(), tensors[1].name.as_str()), ("a", "b"));
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = good();
    for len in 0..bytes.len() {
        assert!(parse(&bytes[..len]).is_err(), "{len} of {}", bytes.len());
    }
}

#[test]
fn header_lengths_are_checked_before_use() {
    for len in [1000, 100_000_000, 100_000_001, 0x3c00_0000_0000_00ff, u64::MAX] {
        let bytes = [&len.to_le_bytes()[..], b"{}"].concat();
        assert!(parse(&bytes).is_err(), "{len}");
    }
    assert!(parse(b"").is_err());
    assert!(parse(&[0; 7]).is_err());
    assert!(parse(&[0x3c, 0, 0, 0, 0, 0, 0, 0]).is_err());
    assert!(parse(&[0; 8]).is_err());
}

#[test]
fn headers_that_are_no_object_of_tensors_are_refused() {
    let deep = "[".repeat(100_000);
    let deep_inside = format!(r#"{{"t":{{"dtype":"F32","shape":{}"#, "[".repeat(100_000));
    let twice = r#"{"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let ones = entry("F32", &format!("[{}1]", "1,".repeat(10_000)), "[0,4]");
    for text in [
        "{",
        "[]",
        "{} {}",
        &deep,
        &deep_inside,
        twice,
        &ones,
        r#"{"__metadata__":{"a":1}}"#,
        r#"{"__metadata__":{},"__metadata__":{}}"#,
        r#"{"t":{"dtype":"F32","shape":[1]}}"#,
        r#"{"":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#,
        &entry("F32", "[-1]", "[0,4]"),
        &entry("F32", "[1.5]", "[0,4]"),
        &entry("F32", "\"1\"", "[0,4]"),
        &entry("F32", "[1]", "[0,4,8]"),
    ] {
        assert!(header(text, 4).is_err(), "{}", crate::Text::new(text));
    }
    let mut not_utf8 = safetensors_raw(&entry("F32", "[1]", "[0,4]"), 4);
    not_utf8[10] = 0xff;
    assert!(parse(&not_utf8).is_err());
}

#[test]
fn offsets_must_cover_the_data_exactly() {
    for (shape, offsets, data) in [
        ("[2,2]", "[0,4]", 4),
        ("[2,2]", "[16,0]", 16),
        ("[2,2]", "[8,24]", 24),
        ("[2,2]", "[0,16]", 17),
        ("[2,2]", "[0,16]", 14),
        ("[2,18446744073709551614]", "[0,16]", 16),
        ("[2,9223372036854775807]", "[0,16]", 16),
        ("[4294967296,4294967296]", "[0,0]", 0),
        ("[1]", "[18446744073709551612,18446744073709551615]", 4),
    ] {
        assert!(header(&entry("F32", shape, offsets), data).is_err(), "{shape} {offsets}");
    }
    let overlap = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#;
    assert!(header(overlap, 12).is_err());
}

#[test]
fn sizes_that_nearly_wrap_are_refused() {
    // Eight contiguous tensors whose last end is the largest even number below 2^64 - 7.
    let len = 1_152_921_504_606_846_975_u64;
    let entries: Vec<_> = (0..8)
        .map(|i| {
            let (start, end) = (i * len * 2, (i + 1) * len * 2);
            format!(r#""{i}":{{"dtype":"F16","shape":[{len}],"data_offsets":[{start},{end}]}}"#)
        })
        .collect();
    assert!(header(&format!("{{{}}}", entries.join(",")), 16).is_err());
}

#[test]
fn other_types_are_named_with_their_tensor() {
    for dtype in ["I64", "F64", "U8", "F8_E4M3", "F4", "nonsense"] {
        let error = header(&entry(dtype, "[1]", "[0,8]"), 8).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, FormatError::Unsupported { .. }), "{text}");
        assert!(text.contains(dtype) && text.contains("\"t\""), "{text}");
    }
}

#[test]
fn the_number_of_tensors_is_bounded() {
    let entries = |n: usize| {
        let all: Vec<_> =
            (0..n).map(|i| format!(r#""{i}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#)).collect();
        header(&format!("{{{}}}", all.join(",")), 0)
    };
    assert_eq!(entries(1 << 14).unwrap().len(), 1 << 14);
    assert!(entries((1 << 14) + 1).is_err());
}

proptest! {
    #[test]
    fn changed_bytes_never_panic(edits in prop::collection::vec((0_usize..400, any::<u8>()), 1..8)) {
        let mut bytes = good();
        for (at, byte) in edits {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        if let Ok(tensors) = parse(&bytes) {
            for tensor in tensors {
                prop_assert!(tensor.offset + tensor.bytes <= bytes.len() as u64);
            }
        }
    }
}
