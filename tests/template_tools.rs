//! Templates with tools, with messages of any JSON, and the template language bit by bit: exactly as transformers renders
//! them, and refused where it refuses them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use plimsoll::text::{Chat, ChatTemplate, Json, TextError, Turn};
use serde_json::Value;

#[test]
fn equals_transformers() {
    let golden: Value = serde_json::from_str(include_str!("golden/template_tools.json")).unwrap();
    let (mut compared, mut wrong) = (0, Vec::new());
    for record in golden["records"].as_array().unwrap() {
        let (template, messages, tools, prompt) = match record["source"].as_str() {
            Some(source) => (ChatTemplate::new(source, Some("<s>"), Some("</s>")), "two_calls", "two", true),
            None => {
                let given = &golden["templates"][record["template"].as_str().unwrap()];
                let (bos, eos) = (given["bos_token"].as_str(), given["eos_token"].as_str());
                (
                    ChatTemplate::new(given["template"].as_str().unwrap(), bos, eos),
                    record["messages"].as_str().unwrap(),
                    record["tools"].as_str().unwrap(),
                    record["add_generation_prompt"].as_bool().unwrap(),
                )
            }
        };
        let messages: Vec<_> =
            golden["conversations"][messages].as_array().unwrap().iter().map(message).collect();
        let turns: Vec<_> = messages.iter().map(Turn::Json).collect();
        let tools = &golden["tools"][tools];
        let tools = tools.is_array().then(|| Json::tools(&tools.to_string()).unwrap());
        let chat = Chat { turns: &turns, tools: tools.as_ref(), add_generation_prompt: prompt };
        let rendered = template.and_then(|template| template.render_chat(&chat));
        if let Some(fault) = difference(record, &rendered) {
            wrong.push(fault);
        }
        compared += 1;
    }
    assert!(wrong.is_empty(), "{} of {compared}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(compared >= 700, "{compared}");
}

fn message(message: &Value) -> Json {
    Json::message(&message.to_string()).unwrap()
}

fn difference(record: &Value, rendered: &Result<String, TextError>) -> Option<String> {
    let case = match record["source"].as_str() {
        Some(source) => source.to_owned(),
        None => format!(
            "{} {} tools {} {}",
            record["template"], record["messages"], record["tools"], record["add_generation_prompt"]
        ),
    };
    let equal = match (record["text"].as_str(), rendered) {
        (Some(expected), Ok(text)) => text == expected,
        (None, Err(TextError::Raised(message))) => {
            record["error"].as_str() == Some(message.trim_matches('`'))
        }
        // The words of the two engines' own errors differ.
        (None, Err(TextError::Template { .. })) => true,
        _ => false,
    };
    let expected =
        [&record["text"], &record["error"], &record["fails"]].into_iter().find(|text| !text.is_null());
    (!equal)
        .then(|| format!("{case}\n  expected {}\n  found    {rendered:?}", expected.unwrap_or(&Value::Null)))
}
