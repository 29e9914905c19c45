//! Writers of safetensors files and of folders.

use crate::testing::{Scratch, tiny_config};
use crate::{Dtype, expected_tensors};

/// A file of that header and so many bytes of data.
pub(crate) fn safetensors_raw(header: &str, data: usize) -> Vec<u8> {
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend(header.as_bytes());
    out.resize(out.len() + data, 0x5a);
    out
}

/// A sound file of these tensors, all of F32.
pub(crate) fn safetensors(tensors: &[(String, Vec<u64>)]) -> Vec<u8> {
    let mut end = 0;
    let entries: Vec<_> = tensors
        .iter()
        .map(|(name, shape)| {
            let start = end;
            end += Dtype::F32.bytes_for(shape.iter().product()).unwrap();
            format!("\"{name}\":{{\"dtype\":\"F32\",\"shape\":{shape:?},\"data_offsets\":[{start},{end}]}}")
        })
        .collect();
    let header = format!("{{\"__metadata__\":{{\"format\":\"pt\"}},{}}}", entries.join(","));
    safetensors_raw(&header, end as usize)
}

/// A sound folder of the tiny model, its weights in two files with an index.
pub(crate) fn tiny_folder(name: &str) -> Scratch {
    let scratch = Scratch::new(name);
    let config = tiny_config();
    let text = format!(
        r#"{{"model_type": "llama", "vocab_size": {}, "hidden_size": {}, "intermediate_size": {},
            "num_hidden_layers": {}, "num_attention_heads": {}, "num_key_value_heads": {}, "rms_norm_eps": 1e-05,
            "max_position_embeddings": {}, "tie_word_embeddings": true, "bos_token_id": 1, "eos_token_id": 2}}"#,
        config.vocab_size,
        config.hidden_size,
        config.intermediate_size,
        config.layers,
        config.heads,
        config.kv_heads,
        config.context_length,
    );
    scratch.write("config.json", text.as_bytes());
    scratch.write("tokenizer.json", b"{}");
    scratch.write(
        "tokenizer_config.json",
        br#"{"bos_token": "<s>", "eos_token": "</s>", "chat_template": "{{ x }}"}"#,
    );
    scratch.write("generation_config.json", br#"{"eos_token_id": [2, 3], "temperature": 0.5}"#);

    let all = expected_tensors(&config);
    let (first, second) = all.split_at(all.len() / 2);
    scratch.write("model-1.safetensors", &safetensors(first));
    scratch.write("model-2.safetensors", &safetensors(second));
    let entries: Vec<_> = (first.iter().map(|(name, _)| format!("\"{name}\": \"model-1.safetensors\"")))
        .chain(second.iter().map(|(name, _)| format!("\"{name}\": \"model-2.safetensors\"")))
        .collect();
    let index = format!("{{\"metadata\": {{}}, \"weight_map\": {{{}}}}}", entries.join(", "));
    scratch.write("model.safetensors.index.json", index.as_bytes());
    scratch
}
