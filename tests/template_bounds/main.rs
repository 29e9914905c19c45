//! Whatever a template does, a rendering ends soon and holds at most 8 MiB of heap and 16 times its input.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod attacks;
mod harness;

use harness::{HELLO, MIB, fails, limited, render, repeated};
use plimsoll::text::{Message, TextError};

#[test]
fn nothing_of_python_is_there() {
    for source in [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ self.__init__.__globals__ }}",
        "{{ messages.__class__.__base__ }}",
        "{% include 'x' %}",
        "{% import 'x' as y %}",
        "{% extends 'x' %}",
        "{% block x %}{% endblock %}",
        "{{ super() }}",
        "{{ debug() }}",
        "{{ lipsum() }}",
    ] {
        fails(source);
    }
    assert_eq!(render("{{ ''.__class__ }}", &HELLO).unwrap(), "");
}

#[test]
fn the_functions_of_this_library_cannot_be_named() {
    for source in ["{{ before concat(1, 2) }}", "{{ 'x'|check made }}", "{{ this[' budget'] }}"] {
        assert!(render(source, &HELLO).map_or(true, |text| text.is_empty()), "{source}");
    }
}

#[test]
fn loops_end() {
    let nested = "{% for i in range(100000) %}".repeat(3) + &"{% endfor %}".repeat(3);
    assert!(matches!(fails(&nested), TextError::TemplateLimit { limit: "steps", .. }));
    let text = "{% for i in range(100000) %}".repeat(2) + "0123456789" + &"{% endfor %}".repeat(2);
    assert!(matches!(fails(&text), TextError::TemplateLimit { .. }));
    fails("{% for i in range(1000000000) %}{% endfor %}");
    fails("{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}");
    fails("{% for i in [1, 2] recursive %}{% set x %}{{ loop([1, 2]) }}{% endset %}{{ x }}{% endfor %}");
}

#[test]
fn doubling_ends() {
    for body in [
        "{% set ns.s = ns.s ~ ns.s %}",
        "{% set ns.s = ns.s + ns.s %}",
        "{% set ns.s = ns.s * 2 %}",
        "{% set ns.s = 2 * ns.s %}",
        "{% set ns.s %}{{ ns.s }}{{ ns.s }}{% endset %}",
        "{% set s %}{{ ns.s }}{{ ns.s }}{% endset %}{% set ns.s = s %}",
        "{% set ns.s = [ns.s, ns.s]|join %}",
        "{% set ns.s = [ns.s, ns.s]|join(ns.s) %}",
        "{% set ns.s = ns.s.join([ns.s, ns.s]) %}",
        "{% set ns.s = ns.s|replace('', ns.s) %}",
        "{% set ns.s = ns.s.replace('x', 'xx') %}",
        "{% set ns.s = ns.s|indent(100000000, true) %}",
        "{% set ns.s = [ns.s, ns.s]|string %}",
        "{% set ns.s = [ns.s, ns.s]|tojson %}",
        "{% set ns.s = (ns.s, ns.s)|tojson(indent=1000000) %}",
        "{% set ns.s = (ns.s ~ ns.s ~ '<')|e %}",
        "{% macro m() %}{{ ns.s }}{{ ns.s }}{% endmacro %}{% set ns.s = m() %}",
        "{% set ns.l = ns.l + ns.l %}",
        "{% set ns.l = ns.l * 2 %}",
        "{% set ns.l = (ns.l + ns.l)|list %}",
        "{% set ns.l = [ns.l, ns.l] %}",
        "{% set ns.l = {'a': ns.l, 'b': ns.l} %}",
        "{% set ns.l = dict(a=ns.l, b=ns.l) %}",
        "{% set ns.l = (ns.l, ns.l) %}",
        "{% filter replace('x', 'xxxx') %}{{ ns.s * 100000 }}{% endfilter %}",
    ] {
        limited(&repeated(80, body));
    }
}

#[test]
fn single_steps_are_bounded() {
    for source in [
        "{{ 'x' * 100000000 }}",
        "{{ ('x' ~ messages[0].content) * 100000000 }}",
        "{{ messages[0].content * 10 ** 9 }}",
        "{{ [1] * 100000000 }}",
        "{{ (1,) * 100000000 }}",
        "{{ ((1,) * 9999 * 9999)|length }}",
        "{{ messages[0].content|indent(1000000000, true) }}",
        "{{ messages[0].content|center(1000000000) }}",
        "{{ '%1000000000d'|format(1) }}",
        "{{ '{:1000000000}'.format(1) }}",
        "{{ messages[0].content.center(1000000000) }}",
        "{{ [messages]|tojson(indent=1000000000) }}",
        "{{ range(100000)|map('string')|join('0123456789' * 100) }}",
        "{{ messages[0].content.replace('', 'y' * 10000000) }}",
        "{% for i in range(100000) if true %}{% endfor %}",
        "{{ [range(100000), range(100000), range(100000)]|map('list')|list }}",
        "{% set x, y = range(100000) %}",
        "{{ range(*range(100000)) }}",
        "{{ loop.cycle() }}",
        "{% for x in [1] %}{{ loop.cycle() }}{% endfor %}",
        "{% for x in [1] %}{{ loop.changed(loop) }}{% endfor %}",
        "{{ 4 is divisibleby(0) }}",
        "{{ 1 / 0 }}{{ 1 // 0 }}",
        "{{ 2 ** 10000000 }}",
    ] {
        fails(source);
    }
    let bombs = "{{ 'x' * 65000 }}".repeat(1000);
    fails(&bombs);
    fails(&"{% set x = ('x' ~ 'y') * 30000 %}".repeat(1000));
}

#[test]
fn deep_values_are_refused() {
    for body in [
        "{% set ns.l = [ns.l] %}",
        "{% set ns.l = (ns.l,) %}",
        "{% set ns.l = {'a': ns.l} %}",
        "{% set ns.l = dict(a=ns.l) %}",
        "{% set ns = namespace(s=ns) %}",
        "{% set ns.l = ns %}",
        "{% set ns.l = [ns] %}",
        "{% set ns.l = [ns.l]|list %}",
        "{% set ns.l = {'a': ns.l}.items() %}",
    ] {
        fails(&repeated(100_000, body));
    }
    // Slices and sums of lists do not nest, however often.
    let slices = repeated(5_000, "{% set ns.l = ns.l[0:] %}{% set ns.l = ns.l[:] + [] %}");
    assert_eq!(render(&slices, &HELLO).unwrap(), "1");
}

#[test]
fn deep_and_long_sources() {
    let n = 20_000;
    for (open, middle, close) in [
        ("(", "1", ")"),
        ("[", "1", "]"),
        ("{'a': ", "1", "}"),
        ("not ", "1", ""),
        ("-", "1", ""),
        ("1 + ", "1", ""),
        ("1 ~ ", "1", ""),
        ("1 ** ", "1", ""),
        ("1 < ", "1", ""),
        ("x and ", "1", ""),
        ("x if x else ", "1", ""),
        ("", "x", ".a"),
        ("", "x", "[0]"),
        ("", "x", "()"),
        ("", "x", "|string"),
        ("", "x", " is defined"),
        ("x(", "", ")"),
        ("x[", "1", "]"),
    ] {
        let source = |n| format!("{{{{ {}{middle}{} }}}}", open.repeat(n), close.repeat(n));
        fails(&source(n.min(60_000 / (open.len() + close.len()))));
        // And what passes the checks, in a debug build too, has stack enough.
        for n in [100, 140, 150, 200, 240, 249, 300, 330, 490, 498] {
            let _ = render(&source(n), &HELLO);
        }
    }
    for (open, close) in [
        ("{% if 1 %}", "{% endif %}"),
        ("{% for i in [1] %}", "{% endfor %}"),
        ("{% with %}", "{% endwith %}"),
        ("{% filter upper %}", "{% endfilter %}"),
        ("{% set x %}", "{% endset %}"),
        ("{% macro m() %}", "{% endmacro %}"),
        ("{% call m() %}", "{% endcall %}"),
        ("{% if 1 %}{% else %}", "{% endif %}"),
    ] {
        let source = |n: usize| open.repeat(n) + &close.repeat(n);
        fails(&source(5000));
        for n in [50, 100, 140, 149] {
            let _ = render(&source(n), &HELLO);
        }
    }
    fails(&format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(10_000)));
    let chain = format!("{{% if 0 %}}{}y{{% endif %}}", "{% elif 0 %}x".repeat(199));
    assert_eq!(render(&chain, &HELLO).unwrap(), "");
    assert!(matches!(fails(&"x".repeat(10 * MIB)), TextError::TooLarge { .. }));
}

#[test]
fn dense_sources() {
    for part in [
        "{{a}}",
        "{{0}}",
        "{{a.b}}",
        "{{a|d}}",
        "{%if a%}{%endif%}",
        "{{[]}}",
        "{{a~a}}",
        "{{a[a:a]}}",
        "{#}#}",
        "x{{a}}",
        "{{a()}}",
    ] {
        let _ = render(&part.repeat(98_000 / part.len()), &HELLO);
    }
    // As much as there can be of both instructions and values.
    let fill = repeated(60, "{% set ns.l = ns.l + ns.l %}");
    fails(&("{{a~a}}".repeat((98_000 - fill.len()) / 7) + &fill));
    let list = format!("{{{{[{}0]}}}}", "0,".repeat(490));
    let _ = render(&list.repeat(98_000 / list.len()), &HELLO);
}

#[test]
fn macros_end() {
    fails("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}");
    fails("{% macro m(x) %}{{ m([x, x]) }}{% endmacro %}{{ m(1) }}");
    fails(
        "{% macro a() %}{% call b() %}{{ a() }}{% endcall %}{% endmacro %}{% macro b() %}{{ caller() }}{% endmacro %}{{ a() }}",
    );
    fails("{% for i in range(100000) %}{% macro m() %}{{ i }}{{ messages }}{% endmacro %}{% endfor %}");
}

#[test]
fn work_is_bounded() {
    let words = ["== ns.t", "in ns.t", "< ns.t", "is eq(ns.t)", "is in(ns.t)"];
    for test in words {
        let body = format!("{{% if ns.t {test} %}}{{% endif %}}");
        let source = format!(
            "{{% set ns = namespace(t=messages[0].content * 50000) %}}{}{body}{}",
            "{% for i in range(100000) %}".repeat(2),
            "{% endfor %}".repeat(2)
        );
        limited(&source);
    }
    for expression in [
        "t|length",
        "t[5]",
        "{}[t]",
        "t.find('y')",
        "t.strip(t)",
        "t|upper",
        "t|trim",
        "t.split('y')",
        "l|sort",
        "l|unique",
        "l|map('string')",
        "l|select('odd')",
        "l|sum",
        "l == l",
        "l|tojson",
        "7 in l",
        "l|string",
    ] {
        let source = format!(
            "{{% set t = messages[0].content * 20000 %}}{{% set l = range(5000)|list %}}{}{{% set x = {expression} %}}{}",
            "{% for i in range(100000) %}".repeat(2),
            "{% endfor %}".repeat(2)
        );
        limited(&source);
    }
}

#[test]
fn what_is_harmless_renders() {
    assert_eq!(render("{{ (range(10000)|sort|length) }}", &HELLO).unwrap(), "10000");
    assert_eq!(render("{{ x }}{{ messages[0].y }}{{ messages[9] }}", &HELLO).unwrap(), "");
    fails("{{ x.y }}");
    fails("{{ messages[0].y.z }}");
    fails("{{ strftime_now('%Q') }}");
    fails("{{ strftime_now('%Y' * 10000000) }}");
    assert_eq!(render("{{ strftime_now('%Y')|length }}", &HELLO).unwrap(), "4");
    let TextError::Raised(message) = fails("{{ raise_exception(messages[0].content * 50000) }}") else {
        panic!()
    };
    assert!(message.len() < 200);
    let special = [Message { role: "user", content: "<|im_start|>system {{ x }} {% if %}" }];
    assert_eq!(render("{{ messages[0].content }}", &special).unwrap(), special[0].content);
}

#[test]
fn many_messages() {
    let messages = vec![Message { role: "user", content: "Hello there" }; 100_000];
    let source = "{{ bos_token }}{% for message in messages %}{% if message.role not in ['user', 'assistant'] %}\
        {{ raise_exception('role') }}{% endif %}{% set content = message['content'] | trim %}\
        {{ '<|im_start|>' + message['role'] + '\n' + content + '<|im_end|>\n' }}{% endfor %}";
    let text = render(source, &messages).unwrap();
    assert_eq!(text.matches("<|im_start|>user\nHello there<|im_end|>\n").count(), 100_000);
    let long = "word ".repeat(400_000);
    let long = [Message { role: "user", content: &long }; 4];
    assert!(render(source, &long).unwrap().len() > 7_900_000);
}
