//! Files changed at random are described or refused, and never more.

use proptest::prelude::*;

use crate::gguf::parse;
use crate::testing::tiny_gguf;

/// What a random test may do to the bytes of a file.
#[derive(Clone, Debug)]
enum Edit {
    Byte(usize, u8),
    Number(usize, u64),
    Cut(usize),
    Repeat(usize, usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    let numbers = prop::sample::select(vec![0, 1, 0xffff_ffff, 1 << 31, 1 << 32, 1 << 61, 1 << 63, u64::MAX]);
    prop_oneof![
        (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Edit::Byte(at, byte)),
        (any::<usize>(), numbers).prop_map(|(at, number)| Edit::Number(at, number)),
        any::<usize>().prop_map(Edit::Cut),
        (any::<usize>(), 1_usize..64).prop_map(|(at, len)| Edit::Repeat(at, len)),
    ]
}

fn apply(bytes: &mut Vec<u8>, header: usize, edit: &Edit) {
    // Data is never looked at, so changes go to the header.
    let place = |at: usize, len: usize| at % header.min(len).max(1);
    match *edit {
        Edit::Byte(at, byte) => {
            let at = place(at, bytes.len());
            bytes[at] = byte;
        }
        Edit::Number(at, number) => {
            let at = place(at, bytes.len());
            let end = bytes.len().min(at + 8);
            bytes[at..end].copy_from_slice(&number.to_le_bytes()[..end - at]);
        }
        Edit::Cut(at) => bytes.truncate(place(at, bytes.len()).max(1)),
        Edit::Repeat(at, len) => {
            let at = place(at, bytes.len());
            let part = bytes[at..bytes.len().min(at + len)].to_vec();
            bytes.splice(at..at, part);
        }
    }
}

proptest! {
    #[test]
    fn changed_files_never_panic(edits in prop::collection::vec(edit(), 1..6)) {
        let file = tiny_gguf();
        let (header, mut bytes) = (file.header().len(), file.build());
        for edit in &edits {
            apply(&mut bytes, header, edit);
        }
        match parse(&bytes, "t.gguf") {
            Err(error) => {
                let text = error.to_string();
                prop_assert!(text.len() < 8192 && !text.chars().any(char::is_control), "{text:?}");
            }
            Ok(file) => {
                for tensor in file.tensors.values() {
                    prop_assert!(tensor.offset.checked_add(tensor.bytes).is_some_and(|end| end <= bytes.len() as u64));
                }
                prop_assert!(file.config.check("t").is_ok());
            }
        }
    }

    #[test]
    fn random_bytes_never_panic(tail in prop::collection::vec(any::<u8>(), 0..256)) {
        let bytes = [b"GGUF\x03\0\0\0".as_slice(), &tail].concat();
        prop_assert!(parse(&bytes, "t").is_err());
    }
}
