use crate::testing::{Scratch, safetensors, tiny_config, tiny_folder};
use crate::{Checkpoint, Format, FormatError, TokenizerSource, expected_tensors, fingerprint, open};

fn error_of(scratch: &Scratch) -> String {
    open(scratch.path()).unwrap_err().to_string()
}

/// Replaces the split weights by one file of all tensors.
fn whole(scratch: &Scratch) {
    scratch.write("model.safetensors", &safetensors(&expected_tensors(&tiny_config())));
}

fn edit(scratch: &Scratch, name: &str, from: &str, to: &str) {
    let text = std::fs::read_to_string(scratch.path().join(name)).unwrap();
    assert!(text.contains(from), "{from} in {name}");
    scratch.write(name, text.replacen(from, to, 1).as_bytes());
}

#[test]
fn a_split_folder_opens() {
    let scratch = tiny_folder("split");
    let model = open(scratch.path()).unwrap();
    assert_eq!(model.format, Format::Folder);
    assert_eq!(model.files.len(), 2);
    assert_eq!(model.tensors.len(), expected_tensors(&model.config).len());
    assert_eq!(model.generation.eos, [2, 3]);
    assert_eq!(model.generation.temperature, Some(0.5));
    let template = model.chat_template.as_ref().unwrap();
    assert_eq!((template.source.as_str(), template.eos_token.as_deref()), ("{{ x }}", Some("</s>")));
    assert!(matches!(&model.tokenizer, TokenizerSource::Json(bytes) if bytes == b"{}"));
    for tensor in model.tensors.values() {
        let file = model.open_file(tensor.file).unwrap();
        assert!(tensor.offset + tensor.bytes <= crate::Source::len(&file));
    }
    assert!(model.open_file(2).is_err());
}

#[test]
fn one_file_goes_before_an_index() {
    let scratch = tiny_folder("whole");
    whole(&scratch);
    assert_eq!(open(scratch.path()).unwrap().files.len(), 1);
}

#[test]
fn the_key_follows_the_files_and_not_the_path() {
    let scratch = tiny_folder("key");
    let links = Scratch::new("links");
    for entry in std::fs::read_dir(scratch.path()).unwrap() {
        let entry = entry.unwrap();
        std::os::unix::fs::symlink(entry.path(), links.path().join(entry.file_name())).unwrap();
    }
    let key = |scratch: &Scratch| fingerprint(&open(scratch.path()).unwrap());
    let before = key(&scratch);
    assert_eq!(before, key(&links));
    edit(&scratch, "generation_config.json", "0.5", "0.25");
    assert_ne!(before, key(&scratch));
    assert_ne!(before, key(&tiny_folder("other")));
}

#[test]
fn a_replaced_weight_file_is_noticed() {
    let scratch = tiny_folder("replaced");
    let model: Checkpoint = open(scratch.path()).unwrap();
    let bytes = std::fs::read(&model.files[0]).unwrap();
    scratch.write("fresh", &bytes);
    std::fs::rename(scratch.path().join("fresh"), &model.files[0]).unwrap();
    assert!(matches!(model.open_file(0), Err(FormatError::Changed { .. })));
    model.open_file(1).unwrap();
}

#[test]
fn absent_parts_are_named() {
    for (file, word) in [
        ("config.json", "no config.json"),
        ("tokenizer.json", "no tokenizer.json"),
        ("model-2.safetensors", "model-2.safetensors: the index names this file"),
        ("model.safetensors.index.json", "neither model.safetensors nor"),
    ] {
        let scratch = tiny_folder("absent");
        std::fs::remove_file(scratch.path().join(file)).unwrap();
        let error = error_of(&scratch);
        assert!(error.contains(word), "{error}");
    }
    for file in ["generation_config.json", "tokenizer_config.json"] {
        let scratch = tiny_folder("optional");
        std::fs::remove_file(scratch.path().join(file)).unwrap();
        open(scratch.path()).unwrap();
    }
}

#[test]
fn folders_of_other_kinds_get_advice() {
    let scratch = tiny_folder("pickle");
    std::fs::remove_file(scratch.path().join("model.safetensors.index.json")).unwrap();
    scratch.write("pytorch_model.bin", b"PK");
    assert!(error_of(&scratch).contains("convert them to safetensors"));

    let scratch = Scratch::new("gguf");
    scratch.write("a.gguf", b"GGUF");
    assert!(error_of(&scratch).contains("pass the file itself"));

    let scratch = tiny_folder("sentencepiece");
    std::fs::remove_file(scratch.path().join("tokenizer.json")).unwrap();
    scratch.write("tokenizer.model", b"x");
    assert!(error_of(&scratch).contains("SentencePiece"));
}

#[test]
fn the_index_and_its_files_must_agree() {
    const INDEX: &str = "model.safetensors.index.json";
    // In another file than the index says.
    let scratch = tiny_folder("moved");
    edit(&scratch, INDEX, "\"model.norm.weight\": \"model-1", "\"model.norm.weight\": \"model-2");
    assert!(error_of(&scratch).contains("does not place here"));
    // In both files.
    let scratch = tiny_folder("twice");
    let all = expected_tensors(&tiny_config());
    scratch.write("model-2.safetensors", &safetensors(&all[1..]));
    assert!(error_of(&scratch).contains("does not place here"));
    // In neither.
    let scratch = tiny_folder("neither");
    edit(&scratch, INDEX, "\"weight_map\": {", "\"weight_map\": {\"ghost\": \"model-1.safetensors\", ");
    assert!(error_of(&scratch).contains("no such tensor"));
    // Outside the folder.
    let scratch = tiny_folder("outside");
    edit(&scratch, INDEX, "model-1.safetensors", "../model-1.safetensors");
    assert!(error_of(&scratch).contains("no plain name"));
}

#[test]
fn the_configuration_must_fit_the_tensors() {
    let scratch = tiny_folder("more-layers");
    edit(&scratch, "config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3");
    assert!(error_of(&scratch).contains("model.layers.2"));
    let scratch = tiny_folder("fewer-layers");
    edit(&scratch, "config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1");
    assert!(error_of(&scratch).contains("not part of a llama model"));
    let scratch = tiny_folder("wider");
    edit(&scratch, "config.json", "\"vocab_size\": 16", "\"vocab_size\": 17");
    assert!(error_of(&scratch).contains("[17, 32]"));
    let scratch = tiny_folder("untied");
    edit(&scratch, "config.json", "\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false");
    assert!(error_of(&scratch).contains("lm_head.weight"));
    let scratch = tiny_folder("eos");
    edit(&scratch, "generation_config.json", "[2, 3]", "[2, 16]");
    assert!(error_of(&scratch).contains("eos token 16"));
}

#[test]
fn a_tensor_has_one_name() {
    let scratch = tiny_folder("two-names");
    edit(
        &scratch,
        "config.json",
        "\"llama\"",
        "\"mixtral\", \"num_local_experts\": 2, \"num_experts_per_tok\": 1",
    );
    let mut all = expected_tensors(&tiny_config());
    all.push(("model.layers.0.block_sparse_moe.gate.weight".into(), vec![2, 32]));
    scratch.write("model.safetensors", &safetensors(&all));
    assert!(
        error_of(&scratch).contains("model.layers.0.mlp.experts.0.gate_proj.weight"),
        "{}",
        error_of(&scratch)
    );
    all.push(("model.layers.0.mlp.gate.weight".into(), vec![2, 32]));
    scratch.write("model.safetensors", &safetensors(&all));
    assert!(error_of(&scratch).contains("under two names"), "{}", error_of(&scratch));
    // Eyes are a Gemma's.
    let scratch = tiny_folder("eyes");
    let mut all = expected_tensors(&tiny_config());
    all.push(("vision_tower.x".into(), vec![2]));
    scratch.write("model.safetensors", &safetensors(&all));
    assert!(
        error_of(&scratch).contains("vision_tower.x is not part of a llama model"),
        "{}",
        error_of(&scratch)
    );
}

#[test]
fn the_template_file_goes_before_the_tokenizer_s() {
    let scratch = tiny_folder("template");
    scratch.write("chat_template.jinja", b"{{ y }}");
    assert_eq!(open(scratch.path()).unwrap().chat_template.unwrap().source, "{{ y }}");
    assert_eq!(open(scratch.path()).unwrap().chat_template.unwrap().tool_use, None);
    std::fs::create_dir(scratch.path().join("additional_chat_templates")).unwrap();
    scratch.write("additional_chat_templates/tool_use.jinja", b"{{ tools }}");
    let template = open(scratch.path()).unwrap().chat_template.unwrap();
    assert_eq!((template.source.as_str(), template.tool_use.as_deref()), ("{{ y }}", Some("{{ tools }}")));
    scratch.write("chat_template.jinja", b"\xff");
    assert!(error_of(&scratch).contains("UTF-8"));
}

#[test]
fn an_oversized_file_is_not_read() {
    let scratch = tiny_folder("large");
    let file = std::fs::File::options().write(true).open(scratch.path().join("config.json")).unwrap();
    file.set_len(200 << 20).unwrap();
    assert!(matches!(open(scratch.path()), Err(FormatError::TooLarge { size: 209_715_200, .. })));
}

#[test]
fn a_pipe_in_place_of_a_file_does_not_block() {
    let scratch = tiny_folder("directory");
    std::fs::remove_file(scratch.path().join("model-1.safetensors")).unwrap();
    std::fs::create_dir(scratch.path().join("model-1.safetensors")).unwrap();
    assert!(error_of(&scratch).contains("not a regular file"));
    let status = std::process::Command::new("mkfifo").arg(scratch.path().join("pipe")).status().unwrap();
    assert!(status.success());
    assert!(open(&scratch.path().join("pipe")).is_err());
}
