//! Models in several files, sound and not.

use std::path::PathBuf;

use crate::testing::{Gguf, Scratch, tiny_gguf};
use crate::{FormatError, fingerprint, open};

/// The tiny model's parts, with so many tensors in each; the first has the keys.
fn parts(sizes: &[usize]) -> Vec<Gguf> {
    let whole = tiny_gguf();
    assert_eq!(sizes.iter().sum::<usize>(), whole.tensors.len());
    let mut rest = whole.tensors.as_slice();
    let mut parts = Vec::new();
    for (number, size) in sizes.iter().enumerate() {
        let mut part = Gguf::new();
        if number == 0 {
            part.keys.clone_from(&whole.keys);
        }
        part.raw("split.no", 2, &(number as u16).to_le_bytes())
            .raw("split.count", 2, &(sizes.len() as u16).to_le_bytes())
            .raw("split.tensors.count", 5, &(whole.tensors.len() as i32).to_le_bytes());
        let (these, others) = rest.split_at(*size);
        let mut end = 0;
        for tensor in these {
            let mut tensor = tensor.clone();
            tensor.offset = end;
            end = (end + tensor.bytes).next_multiple_of(part.alignment);
            part.tensors.push(tensor);
        }
        rest = others;
        parts.push(part);
    }
    parts
}

fn write(scratch: &Scratch, parts: &[Gguf]) -> PathBuf {
    for (number, part) in parts.iter().enumerate().rev() {
        let name = format!("m-{:05}-of-{:05}.gguf", number + 1, parts.len());
        scratch.write(&name, &part.build());
    }
    scratch.path().join(format!("m-00001-of-{:05}.gguf", parts.len()))
}

/// Spoils a model of three parts and expects its first to be refused with a reason that contains `word`.
fn refused(word: &str, spoil: impl FnOnce(&mut Vec<Gguf>)) -> FormatError {
    let scratch = Scratch::new("split");
    let mut parts = parts(&[5, 7, 8]);
    spoil(&mut parts);
    write(&scratch, &parts);
    let error = open(&scratch.path().join(format!("m-00001-of-{:05}.gguf", parts.len()))).unwrap_err();
    assert!(error.to_string().contains(word), "{word}: {error}");
    error
}

fn number(part: &mut Gguf, key: &str, value: u64) {
    part.raw(key, 10, &value.to_le_bytes());
}

#[test]
fn all_parts_make_the_model() {
    let whole = Scratch::new("whole");
    let whole = open(&whole.write("m.gguf", &tiny_gguf().build())).unwrap();
    for sizes in [&[5, 7, 8][..], &[0, 20], &[19, 0, 1], &[1; 20]] {
        let scratch = Scratch::new("parts");
        let model = open(&write(&scratch, &parts(sizes))).unwrap();
        assert_eq!(model.config, whole.config);
        assert_eq!(model.files.len(), sizes.len());
        assert_eq!(fingerprint(&model).files().len(), sizes.len());
        assert_eq!(model.weight_bytes(), whole.weight_bytes());
        for (name, tensor) in &model.tensors {
            let one = &whole.tensors[name];
            assert_eq!((tensor.dtype, &tensor.shape, tensor.bytes), (one.dtype, &one.shape, one.bytes));
            let end = tensor.offset + tensor.bytes;
            assert!(end <= std::fs::metadata(&model.files[tensor.file]).unwrap().len(), "{name}");
        }
        let held = |file| model.tensors.values().filter(|tensor| tensor.file == file).count();
        assert!(sizes.iter().enumerate().all(|(file, size)| held(file) == *size), "{sizes:?}");
    }
}

#[test]
fn joined_and_single_parts_are_whole() {
    for count in [0, 1] {
        let scratch = Scratch::new("joined");
        let mut file = tiny_gguf();
        number(&mut file, "split.count", count);
        open(&scratch.write("m.gguf", &file.build())).unwrap();
    }
}

#[test]
fn another_part_than_the_first_gets_advice() {
    let scratch = Scratch::new("second");
    let parts = parts(&[5, 7, 8]);
    write(&scratch, &parts);
    let error = open(&scratch.path().join("m-00002-of-00003.gguf")).unwrap_err();
    assert!(matches!(error, FormatError::Unsupported { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("part 2 of 3") && text.contains("-00001-of-00003.gguf"), "{text}");
    // Under another name the others cannot be found.
    let error = open(&scratch.write("first.gguf", &parts[0].build())).unwrap_err();
    assert!(error.to_string().contains("must end in -00001-of-00003.gguf"), "{error}");
    let error = crate::gguf::parse(&parts[0].build(), "t").unwrap_err().to_string();
    assert!(error.contains("part 1 of 3"), "{error}");
}

#[test]
fn what_the_keys_say_must_hold() {
    let error = refused("the number of parts is 65535", |parts| number(&mut parts[0], "split.count", 65_535));
    assert!(matches!(error, FormatError::TooLarge { .. }), "{error}");
    refused("the number of parts", |parts| number(&mut parts[0], "split.count", u64::MAX));
    refused("split.no is missing", |parts| {
        parts[0].remove("split.no");
    });
    refused("split.tensors.count is missing", |parts| {
        parts[0].remove("split.tensors.count");
    });
    refused("split.no is 3, of 3", |parts| number(&mut parts[0], "split.no", 3));
    refused("split.no is 18446744073709551615", |parts| number(&mut parts[0], "split.no", u64::MAX));
    refused("split.no is -1", |parts| {
        parts[0].raw("split.no", 5, &(-1_i32).to_le_bytes());
    });
    refused("split.count is of type string", |parts| {
        parts[0].text("split.count", "3");
    });
    refused("split.tensors.count is 21, but the parts have 20", |parts| {
        parts.iter_mut().for_each(|part| number(part, "split.tensors.count", 21));
    });
}

#[test]
fn siblings_must_be_there_and_of_the_same_model() {
    let scratch = Scratch::new("absent");
    let path = write(&scratch, &parts(&[5, 7, 8]));
    std::fs::remove_file(scratch.path().join("m-00003-of-00003.gguf")).unwrap();
    let error = open(&path).unwrap_err();
    assert!(matches!(error, FormatError::Missing { .. }), "{error}");
    assert!(error.to_string().contains("part 3 of 3 is absent"), "{error}");

    refused("part 2 of 3 with 20 tensors is due; it is part 3 of 3", |parts| parts.swap(1, 2));
    refused("it is part 1 of 3", |parts| parts[1] = parts[0].clone());
    refused("it is no part", |parts| parts[2] = tiny_gguf());
    refused("it is part 2 of 4", |parts| number(&mut parts[1], "split.count", 4));
    refused("with 9 tensors", |parts| number(&mut parts[1], "split.tensors.count", 9));
    refused("architecture \"qwen2\"", |parts| {
        parts[2].text("general.architecture", "qwen2");
    });
    refused("appears twice", |parts| parts[2].tensors[0].name = parts[1].tensors[0].name.clone());
    refused("m-00002-of-00003.gguf is malformed", |parts| parts[1].tensors[1].offset += 32);

    let scratch = Scratch::new("garbage");
    let path = write(&scratch, &parts(&[5, 15]));
    scratch.write("m-00002-of-00002.gguf", b"FUGG and more");
    let error = open(&path).unwrap_err().to_string();
    assert!(error.contains("m-00002-of-00002.gguf is malformed: it does not begin with GGUF"), "{error}");
}
