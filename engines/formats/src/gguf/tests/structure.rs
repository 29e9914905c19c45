//! Headers, keys and values that are cut, miscounted or mistyped.

use super::{refused, spoiled};
use crate::FormatError;
use crate::gguf::parse;
use crate::testing::{Gguf, tiny_gguf};

/// A file of a header with these counts and some bytes after it.
fn counted(tensors: u64, keys: u64, rest: &[u8]) -> Vec<u8> {
    let mut bytes = Gguf { counts: Some((tensors, keys)), ..Gguf::new() }.header();
    bytes.extend(rest);
    bytes
}

fn is_refused(bytes: &[u8]) -> FormatError {
    parse(&bytes, "t.gguf").unwrap_err()
}

#[test]
fn every_truncation_is_an_error() {
    let file = tiny_gguf();
    let (header, bytes) = (file.header().len(), file.build());
    for len in (0..header + 64).chain([bytes.len() - 1]) {
        assert!(parse(&&bytes[..len], "t").is_err(), "{len} of {}", bytes.len());
    }
}

#[test]
fn other_versions_are_named() {
    for (version, word) in [(0, "version 0"), (1, "version 1"), (4, "version 4"), (0x0300_0000, "big-endian")]
    {
        spoiled(word, |file| file.version = version);
    }
    // Version 1 had 32-bit lengths.
    let v1 = [b"GGUF".as_slice(), &1_u32.to_le_bytes(), &[0, 0, 0, 0, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]]
        .concat();
    is_refused(&v1);
}

#[test]
fn counts_are_checked_before_use() {
    for count in [u64::MAX, 1 << 63, u64::MAX / 64, 500_000_000, 70_000, 1] {
        is_refused(&counted(0, count, b""));
        is_refused(&counted(count, 0, b""));
        is_refused(&counted(0, count, &[0; 13]));
    }
}

#[test]
fn keys_are_short_unique_plain_texts() {
    for len in [u64::MAX, 1 << 63, 17, 1 << 20] {
        let rest = [&len.to_le_bytes()[..], &[b'k'; 16]].concat();
        is_refused(&counted(0, 1, &rest));
    }
    for key in [&b""[..], b"\xff\xfe", b"a\0b", b"a\x1b[2Jb", b"a b", b"\xc3\xa4"] {
        let mut file = tiny_gguf();
        file.keys.push((key.to_vec(), 7, vec![1]));
        let error = is_refused(&file.build()).to_string();
        assert!(!error.chars().any(char::is_control), "{error:?}");
    }
    spoiled("twice", |file| file.keys.push((b"general.architecture".to_vec(), 7, vec![1])));
    spoiled("twice", |file| {
        file.u32("general.alignment", 32).keys.push((b"general.alignment".to_vec(), 4, vec![32, 0, 0, 0]))
    });
}

#[test]
fn values_have_known_types_and_lengths() {
    refused("unknown type 13", |file| file.raw("x", 13, &[0; 8]));
    refused("unknown type", |file| file.raw("x", u32::MAX, &[0; 8]));
    refused("bool of value 2", |file| file.raw("x", 7, &[2]));
    refused("not UTF-8", |file| file.raw("general.architecture", 8, &[1, 0, 0, 0, 0, 0, 0, 0, 0xff]));
    for len in [u64::MAX, 1 << 63, 1 << 30, 11] {
        let string = |key: &str| {
            let head = [&(key.len() as u64).to_le_bytes()[..], key.as_bytes(), &8_u32.to_le_bytes()].concat();
            counted(0, 1, &[&head[..], &len.to_le_bytes(), &[b'x'; 10]].concat())
        };
        is_refused(&string("general.architecture"));
        is_refused(&string("a.comment"));
    }
}

#[test]
fn nested_arrays_are_refused_at_once() {
    let level = [9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
    let rest = [&1_u64.to_le_bytes()[..], b"k", &9_u32.to_le_bytes(), &level.repeat(100_000)].concat();
    let error = is_refused(&counted(0, 1, &rest)).to_string();
    assert!(error.contains("array of arrays"), "{error}");
}

#[test]
fn array_lengths_are_checked_before_use() {
    for key in ["x", "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"] {
        for (element, count) in [
            (0, 1 << 63),
            (12, 1 << 61),
            (8, 1 << 61),
            (5, 1 << 62),
            (5, u64::MAX),
            (0, u64::MAX / 64),
            (4, 500_000_000),
        ] {
            refused("announces", |file| file.array(key, element, count, &[0; 43]));
        }
    }
    refused("unknown type", |file| file.array("x", 13, 1, &[0; 8]));
}

#[test]
fn alignment_is_a_power_of_two_of_its_type() {
    for alignment in [0, 1, 4, 13, 33, 1 << 21, 1 << 31, u32::MAX] {
        refused("general.alignment is", |file| file.u32("general.alignment", alignment));
    }
    refused("u32 is needed", |file| file.raw("general.alignment", 5, &32_i32.to_le_bytes()));
    refused("u32 is needed", |file| file.raw("general.alignment", 10, &32_u64.to_le_bytes()));
    refused("is of type string", |file| file.text("general.alignment", "32"));
    refused("is of type f32", |file| file.f32("general.alignment", 32.0));
}

#[test]
fn long_sparse_files_cost_no_time() {
    let scratch = crate::testing::Scratch::new("sparse");
    let text = |key: &str, kind: u32| {
        [&(key.len() as u64).to_le_bytes()[..], key.as_bytes(), &kind.to_le_bytes()].concat()
    };
    let strings = |count: u64| [&8_u32.to_le_bytes()[..], &count.to_le_bytes()].concat();
    for (rest, word) in [
        // As many empty strings as the file has room for.
        ([text("x", 9), strings(1 << 36)].concat(), "the length of x"),
        // One token longer than 31 bits can say.
        (
            [text("tokenizer.ggml.tokens", 9), strings(1), ((1_u64 << 31) + 1).to_le_bytes().to_vec()]
                .concat(),
            "the length of a token",
        ),
        // A comment of most of the file.
        ([text("x", 8), (1_u64 << 38).to_le_bytes().to_vec()].concat(), "the end of the metadata"),
    ] {
        let path = scratch.write("sparse.gguf", &counted(0, 1, &rest));
        std::fs::File::options().write(true).open(&path).unwrap().set_len(1 << 40).unwrap();
        let error = crate::open(&path).unwrap_err();
        assert!(matches!(error, FormatError::TooLarge { .. }), "{error}");
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[test]
fn an_overlong_token_is_refused() {
    let long = "x".repeat((1 << 16) + 1);
    refused("the length of a token", |file| file.texts("tokenizer.ggml.tokens", &[&long]));
}
