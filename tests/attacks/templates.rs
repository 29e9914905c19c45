//! Chat templates: T1 to T5.

use crate::attack::{Attack, Outcome, spoilt};
use crate::common::{Scratch, ask_user};
use plimsoll::ErrorCode::{PromptTooLong, Template};
use serde_json::json;

/// A template that is refused when it is read or when it is used.
fn attack(id: &'static str, what: &str, template: impl Into<String>) -> Attack {
    let template = template.into();
    let make = spoilt("llama3", move |folder: &Scratch| {
        folder.edit("tokenizer_config.json", |config| config["chat_template"] = json!(template));
    });
    Attack::ask(id, what, Template, ask_user("hello", 2), make)
}

fn growing(step: &str) -> String {
    format!(
        "{{% set ns = namespace(s='aa') %}}{{% for i in range(40) %}}{{% set ns.s = {step} %}}{{% endfor %}}{{{{ ns.s }}}}"
    )
}

/// All of them.
pub(crate) fn all() -> Vec<Attack> {
    let nested = "{% for i in range(100000) %}".repeat(3) + &"{% endfor %}".repeat(3);
    let mut attacks = vec![
        attack("T1", "classes", "{{ ''.__class__.__mro__[1].__subclasses__() }}"),
        attack("T1", "globals", "{{ cycler.__init__.__globals__.os.popen('id').read() }}"),
        attack("T1", "include", "{% include 'x' %}"),
        attack("T1", "import", "{% import 'x' as y %}"),
        attack("T1", "extends", "{% extends 'x' %}"),
        attack("T2", "three loops of 100,000", nested),
        attack(
            "T2",
            "a loop that never ends",
            "{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}",
        ),
        attack("T3", "~ doubles", growing("ns.s ~ ns.s")),
        attack("T3", "+ doubles", growing("ns.s + ns.s")),
        attack("T3", "join doubles", growing("[ns.s, ns.s] | join('')")),
        attack("T4", "'x' * 10^8, 100 times", "{{ 'x' * 100000000 }}".repeat(100)),
        attack("T4", "repeat of content", "{{ messages[0].content * 1000000000000 }}"),
        attack("T4", "replace", growing("ns.s | replace('a', 'aa')")),
        attack("T4", "indent", "{{ 'a\nb' | indent(10**9) }}"),
        attack("T4", "center", "{{ 'a' | center(10**9) }}"),
        attack("T4", "format", "{{ '%1000000000d' | format(1) }}"),
        attack("T4", "% of a width", "{{ '%1000000000000d' % messages | length }}"),
        attack(
            "T4",
            "a deep value as JSON",
            "{% set ns = namespace(l=[]) %}{% for i in range(100000) %}{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l | tojson }}",
        ),
        attack("T5", "a macro that calls itself", "{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}"),
        attack("T5", "10 MB of text that is no template", "{% if x %}".to_owned() + &"y".repeat(10 << 20)),
        attack(
            "T5",
            "100,000 parentheses",
            format!("{{{{ {}1{} }}}}", "(".repeat(100_000), ")".repeat(100_000)),
        ),
        attack("T5", "a long complaint", "{{ raise_exception('no ' * 100000) }}"),
        attack("T5", "a date of no sense", "{{ strftime_now('%' * 1000 + 'Q') }}{{ nothing.at.all() }}"),
        attack("T5", "an undefined attribute", "{{ nothing.at.all }}"),
    ];
    // A sort of 100,000 numbers is work, but bounded: either answer will do, as long as it comes soon.
    let mut sort = attack("T4", "a sort of 100,000", "{{ range(100000) | sort | length }}");
    sort.outcome = Outcome::Refused;
    attacks.push(sort);
    let long = "{% for i in range(20000) %}{{ messages[0].content }} {% endfor %}";
    let mut output = attack("T5", "20,000 times the message", long);
    output.outcome = Outcome::Fails(PromptTooLong);
    attacks.push(output);
    for attack in &mut attacks {
        // Reading the template may find it already.
        if matches!(attack.outcome, Outcome::Fails(Template)) {
            attack.outcome = Outcome::Refused;
        }
    }
    attacks
}
