//! Chat templates and tokenizers that go wrong when they are used.

use crate::alone;
use crate::common::{Scratch, ask_text, ask_user, run};
use crate::folders::set;
use crate::requests::Asker;
use plimsoll::{ErrorCode, Section};
use serde_json::json;

/// Template text that transformers would run as well.
struct Unruly {
    what: &'static str,
    template: &'static str,
    names: &'static str,
}

#[test]
fn templates_that_go_wrong() {
    let _alone = alone();
    let cases = [
        Unruly {
            what: "raises",
            template: "{{ raise_exception('no tools, please') }}",
            names: "no tools, please",
        },
        Unruly { what: "raises with escapes", template: "{{ raise_exception('a\u{1b}[2J') }}", names: "[2J" },
        Unruly { what: "calls what is not there", template: "{{ nothing.at.all() }}", names: "line 1" },
        Unruly {
            what: "loops",
            template: "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
            names: "line 1",
        },
        Unruly {
            what: "loops and writes",
            template: "{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}",
            names: "line 1",
        },
        Unruly {
            what: "calls itself",
            template: "{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}",
            names: "line 1",
        },
        Unruly {
            what: "doubles a string 40 times",
            template: "{% set ns = namespace(s='x') %}{% for i in range(40) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s }}",
            names: "line 1",
        },
        Unruly {
            what: "doubles a string 40 times and throws it away",
            template: "{% set ns = namespace(s='x') %}{% for i in range(40) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
            names: "line 1",
        },
        Unruly {
            what: "doubles a list 40 times",
            template: "{% set ns = namespace(s=[1]) %}{% for i in range(40) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
            names: "line 1",
        },
        Unruly {
            what: "repeats a string",
            template: "{{ messages[0].content * 1000000000000 }}",
            names: "line 1",
        },
        Unruly {
            what: "pads a string",
            template: "{{ '%1000000000000d' % messages|length }}",
            names: "line 1",
        },
        Unruly {
            what: "replaces with more",
            template: "{% set ns = namespace(s='aa') %}{% for i in range(40) %}{% set ns.s = ns.s.replace('a', 'aa') %}{% endfor %}",
            names: "line 1",
        },
    ];
    for Unruly { what, template, names } in cases {
        let folder = Scratch::model("llama3");
        set(&folder, "tokenizer_config.json", "chat_template", json!(template));
        let asker = Asker::new(folder.path());
        let request = ask_user("hello", 3);
        asker.refuses(what, &request, ErrorCode::Template, Section::Request, names);
        // Text needs no template.
        assert_eq!(run(&asker.open, &ask_text("hello", 3)).ids.len(), 3, "{what}");
    }
}

#[test]
fn messages_without_a_template() {
    let _alone = alone();
    let folder = Scratch::model("llama3");
    folder.edit("tokenizer_config.json", |file| drop(file.as_object_mut().unwrap().remove("chat_template")));
    let asker = Asker::new(folder.path());
    let request = ask_user("hello", 3);
    asker.refuses("no template", &request, ErrorCode::Template, Section::Request, "no chat template");
}

#[test]
fn a_tokenizer_with_more_ids_than_the_model_has() {
    let _alone = alone();
    let folder = Scratch::model("llama3");
    folder.edit("tokenizer.json", |file| {
        let mut extra = file["added_tokens"][0].clone();
        extra["id"] = json!(352);
        extra["content"] = json!("<|extra|>");
        file["added_tokens"].as_array_mut().unwrap().push(extra);
    });
    let asker = Asker::new(folder.path());
    let request = ask_text("hello <|extra|>", 3);
    asker.refuses("an id of the tokenizer alone", &request, ErrorCode::InvalidToken, Section::Request, "352");
}
