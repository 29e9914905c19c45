//! Templates render exactly as transformers renders them, over a file of templates and conversations.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use plimsoll::text::{ChatTemplate, Message, TextError};
use serde_json::Value;

#[test]
fn equals_transformers() {
    let golden: Value = serde_json::from_str(include_str!("golden/templates.json")).unwrap();
    let mut compared = 0;
    for record in golden["records"].as_array().unwrap() {
        let given = &golden["templates"][record["template"].as_str().unwrap()];
        let (bos, eos) = (given["bos_token"].as_str(), given["eos_token"].as_str());
        let template = ChatTemplate::new(given["template"].as_str().unwrap(), bos, eos).unwrap();
        let messages = messages(&golden["conversations"][record["messages"].as_str().unwrap()]);
        let rendered = template.render(&messages, record["add_generation_prompt"].as_bool().unwrap());
        check(record, &rendered);
        compared += 1;
    }
    assert!(compared >= 300, "{compared}");
}

fn messages(conversation: &Value) -> Vec<Message<'_>> {
    let messages = conversation.as_array().unwrap().iter();
    let message = |message: &'_ Value| message.as_object().unwrap().len();
    assert!(messages.clone().all(|fields| message(fields) == 2), "only a role and a text");
    messages
        .map(|message| Message {
            role: message["role"].as_str().unwrap(),
            content: message["content"].as_str().unwrap(),
        })
        .collect()
}

fn check(record: &Value, rendered: &Result<String, TextError>) {
    let case = format!("{} {} {}", record["template"], record["messages"], record["add_generation_prompt"]);
    match (record["text"].as_str(), rendered) {
        (Some(expected), Ok(text)) => assert_eq!(text, expected, "{case}"),
        (None, Err(TextError::Raised(message))) => {
            assert_eq!(message.trim_matches('`'), record["error"].as_str().unwrap(), "{case}");
        }
        (None, Err(TextError::Template { message, .. })) => {
            let error = record["error"].as_str().unwrap();
            assert!(
                error.contains("undefined") && message.contains("undefined"),
                "{case}: {error} / {message}"
            );
        }
        (expected, found) => panic!("{case}: {expected:?} {found:?}"),
    }
}
