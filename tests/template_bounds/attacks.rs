//! What grows, what comes as JSON, and the list of attacks.

use crate::harness::{MIB, fails, render, render_chat, repeated};
use plimsoll::text::{Chat, Json, Message, TextError, Turn};

/// A text that grows by each message is paid for as it lives, not as often as it was copied.
#[test]
fn growing_texts_render() {
    let content = "0123456789abcdef".repeat(256);
    let messages = vec![Message { role: "user", content: &content }; 1000];
    for (step, extra) in [
        ("{% set ns.t = ns.t + '<|' + m.role + '|>' + m.content %}", 8),
        ("{% set ns.t = ns.t ~ m.content ~ '\\n' %}", 1),
        ("{% set ns.t = [ns.t, m.content]|join('-') %}", 1),
        ("{% set t %}{{ ns.t }}{{ m.content }}{% endset %}{% set ns.t = t %}", 0),
    ] {
        let source = format!(
            "{{% set ns = namespace(t='') %}}{{% for m in messages %}}{step}{{% endfor %}}{{{{ ns.t }}}}"
        );
        let text = render(&source, &messages).expect(step);
        assert_eq!(text.len(), 1000 * (content.len() + extra), "{step}");
        // One that doubles does not, however long the input.
        let doubling = source.replace("ns.t + ", "ns.t + ns.t + ").replace("ns.t ~ ", "ns.t ~ ns.t ~ ");
        if doubling != source {
            let error = render(&doubling, &messages).unwrap_err();
            assert!(matches!(error, TextError::TemplateLimit { .. }), "{error}");
        }
    }
    // Nor one that is copied for ever.
    let copies =
        "{% set t = messages[0].content * 70 %}{% for i in range(100000) %}{% set x = t[1:] %}{% endfor %}";
    assert!(matches!(render(copies, &messages[..1]), Err(TextError::TemplateLimit { limit: "work", .. })));
    let lists = "{% set ns = namespace(l=[]) %}{% for m in messages %}{% set ns.l = ns.l + [m.role] %}{% endfor %}{{ ns.l|length }}";
    let short = vec![Message { role: "user", content: "Hi" }; 3000];
    assert_eq!(render(lists, &short).unwrap(), "3000");
}

#[test]
fn json_is_bounded() {
    let values = [
        format!("[{{\"a\": [{}0]}}]", "0,".repeat(4 << 20)),
        format!("[{{\"a\": [{}[]]}}]", "[],".repeat(1 << 20)),
        format!("[{{\"a\": [{}{{}}]}}]", "{},".repeat(1 << 20)),
        format!("[{}{{}}]", "{\"a\":1},".repeat(1 << 18)),
        format!("[{{{}\"b\": 1}}]", "\"a\": 1, ".repeat(1 << 18)),
        format!("[{{{}\"b\": 1}}]", (0..1 << 17).map(|n| format!("\"{n}\":{n},")).collect::<String>()),
        format!("[{{\"a\": [{}\"\"]}}]", "\"0123456789012345678901234\",".repeat(1 << 17)),
    ];
    let mut limited = 0;
    for text in &values {
        let tools = Json::tools(text).unwrap();
        let chat = Chat { turns: &[], tools: Some(&tools), add_generation_prompt: true };
        if let Err(error) = render_chat("{{ tools | tojson | length }}", &chat) {
            assert!(matches!(error, TextError::TemplateLimit { .. }), "{error}");
            limited += 1;
        }
        let message = format!("{{\"role\": \"user\", \"tools\": {text}}}");
        let message = Json::message(&message).unwrap();
        let chat = Chat { turns: &[Turn::Json(&message)], tools: None, add_generation_prompt: true };
        let _ = render_chat("{{ messages | tojson | length }}", &chat);
    }
    assert!(limited >= 4, "{limited}");
    let long = format!("{{\"role\": \"user\", \"content\": \"{}\"}}", "x\\n".repeat(1 << 20));
    let long = Json::message(&long).unwrap();
    let chat = Chat { turns: &[Turn::Json(&long); 3], tools: None, add_generation_prompt: false };
    let source = "{% for m in messages %}{{ m.content }}{% endfor %}";
    assert_eq!(render_chat(source, &chat).unwrap().len(), 3 * (2 << 20));
    let tools = Json::tools(&format!("[{}{{}}]", r#"{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "string", "description": "one of many"}}}}},"#.repeat(500))).unwrap();
    let chat = Chat { turns: &[], tools: Some(&tools), add_generation_prompt: true };
    assert!(render_chat("{% for t in tools %}{{ t | tojson(indent=4) }}{% endfor %}", &chat).is_ok());
}

/// The list of attacks on templates, in its words: AT-T1 to AT-T5. What has a test of its own above is here once more.
#[test]
fn the_list_of_attacks() {
    let limit = |limit: &'static str| move |error: &TextError| matches!(error, TextError::TemplateLimit { limit: found, .. } if *found == limit);
    let fault: fn(&TextError) -> bool = |error| matches!(error, TextError::Template { .. });
    type Check = Box<dyn Fn(&TextError) -> bool>;
    let n = 100_000;
    let cases: Vec<(&str, String, Check)> = vec![
        ("AT-T1", "{{ ''.__class__.__mro__[1].__subclasses__() }}".into(), Box::new(fault)),
        ("AT-T1", "{{ cycler.__init__.__globals__.os.popen('id').read() }}".into(), Box::new(fault)),
        ("AT-T1", "{% include '/etc/passwd' %}".into(), Box::new(fault)),
        ("AT-T1", "{% import '/etc/passwd' as x %}".into(), Box::new(fault)),
        ("AT-T1", "{% extends '/etc/passwd' %}".into(), Box::new(fault)),
        ("AT-T2", "{% for i in range(100000) %}".repeat(3) + &"{% endfor %}".repeat(3), Box::new(limit("steps"))),
        (
            "AT-T3",
            "{% set ns=namespace(s='x') %}{% for i in range(40) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s }}".into(),
            Box::new(limit("memory")),
        ),
        ("AT-T4", "{{ 'x' * 100000000 }}".repeat(100), Box::new(fault)),
        ("AT-T4", "{% set t, n = [messages[0].content, 1000000] %}{{ ([t] * 100) | join(t * n) }}".into(), Box::new(limit("memory"))),
        ("AT-T4", "{% set t, n = [messages[0].content, 10000000] %}{{ t | replace('l', t * n) }}".into(), Box::new(limit("memory"))),
        ("AT-T4", "{{ messages[0].content | indent(10**9, true) }}".into(), Box::new(limit("memory"))),
        ("AT-T4", "{{ messages[0].content | center(10**9) }}".into(), Box::new(fault)),
        ("AT-T4", "{{ '%1000000000d' | format(1) }}".into(), Box::new(fault)),
        ("AT-T4", repeated(1000, "{% set ns.l = [ns.l] %}") + "{{ ns.l | tojson }}", Box::new(limit("nesting"))),
        ("AT-T4", "{% for i in range(1000) %}{{ range(100000) | sort | length }}{% endfor %}".into(), Box::new(|error| matches!(error, TextError::TemplateLimit { .. }))),
        ("AT-T5", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}".into(), Box::new(fault)),
        ("AT-T5", "x".repeat(10 * MIB), Box::new(|error| matches!(error, TextError::TooLarge { .. }))),
        ("AT-T5", format!("{{{{ {}1{} }}}}", "(".repeat(n), ")".repeat(n)), Box::new(|error| matches!(error, TextError::TooLarge { .. }))),
        ("AT-T5", format!("{{{{ {}1{} }}}}", "(".repeat(40_000), ")".repeat(40_000)), Box::new(fault)),
        ("AT-T5", "{{ raise_exception(messages[0].content * 50000) }}".into(), Box::new(|error| matches!(error, TextError::Raised(text) if text.len() < 200))),
        ("AT-T5", "{{ strftime_now('%' ~ '9' * 1000 ~ 'd') }}".into(), Box::new(fault)),
        ("AT-T5", "{{ strftime_now('%Y' * 10000000) }}".into(), Box::new(|_| true)),
        ("AT-T5", "{{ strftime_now('%F' * 20000 * 40) }}".into(), Box::new(|_| true)),
        ("AT-T5", "{{ messages[0].nothing.at.all }}".into(), Box::new(fault)),
        ("loop.cycle", "{% for x in [1] %}{{ loop.cycle() }}{% endfor %}".into(), Box::new(fault)),
        ("generation", "{% generation %}x".into(), Box::new(fault)),
    ];
    for (id, source, check) in cases {
        let error = fails(&source);
        assert!(check(&error), "{id}: {error}: {}", source.chars().take(80).collect::<String>());
    }
    // Messages with a million items, as messages and as one message's JSON.
    let million = vec![Message { role: "user", content: "a" }; 1_000_000];
    let source = "{% for m in messages %}{{ m.content }}{% endfor %}";
    assert_eq!(render(source, &million).unwrap().len(), 1_000_000);
    let content = format!("{{\"role\": \"user\", \"content\": [{}\"x\"]}}", "\"x\", ".repeat(1_000_000));
    let content = Json::message(&content).unwrap();
    let chat = Chat { turns: &[Turn::Json(&content)], tools: None, add_generation_prompt: false };
    let error = render_chat("{{ messages[0].content | join }}", &chat).unwrap_err();
    assert!(matches!(error, TextError::TemplateLimit { limit: "memory", .. }), "{error}");
}
