"""Chat templates in the styles that model hubs use, written for these fixtures."""

LLAMA3 = """\
{{- bos_token }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
    {{- message['content'] | trim }}
    {{- '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}"""

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content']"
    " + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

# A default system message, a branch for tools, and tool calls inside assistant messages.
QWEN25 = """\
{%- set ask = namespace(system='You are a careful assistant.', from=0) %}
{%- if messages[0]['role'] == 'system' %}
    {%- set ask.system = messages[0]['content'] %}
    {%- set ask.from = 1 %}
{%- endif %}
{{- '<|im_start|>system\\n' + ask.system }}
{%- if tools %}
    {{- '\\n\\n# Functions\\n\\nCall one by writing JSON between tool_call tags.\\n<tools>' }}
    {%- for tool in tools %}
        {{- '\\n' }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- '\\n</tools>' }}
{%- endif %}
{{- '<|im_end|>\\n' }}
{%- for message in messages[ask.from:] %}
    {%- if message.role == 'tool' %}
        {%- set before = loop.previtem.role if loop.previtem is defined else '' %}
        {%- set after = loop.nextitem.role if loop.nextitem is defined else '' %}
        {{- '<|im_start|>user' if before != 'tool' else '' }}
        {{- '\\n<tool_response>\\n' + message.content + '\\n</tool_response>' }}
        {{- '<|im_end|>\\n' if after != 'tool' else '' }}
    {%- else %}
        {{- '<|im_start|>' + message.role + ('\\n' + message.content if message.content else '') }}
        {%- for call in message.tool_calls or [] %}
            {{- '\\n<tool_call>\\n' ~ {'name': call.function.name, 'arguments': call.function.arguments} | tojson }}
            {{- '\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}"""

# A reversed walk over the messages, string methods of Python, slices, and an optional switch.
QWEN3 = """\
{%- if messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(searching=true, last_query=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.searching and message.role == 'user' and message.content is string
        and not message.content.startswith('<tool_response>') %}
        {%- set ns.searching = false %}
        {%- set ns.last_query = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if message.role == 'user' or (message.role == 'system' and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == 'assistant' %}
        {%- set thought = '' %}
        {%- if '</think>' in content %}
            {%- set thought = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query and (loop.last or thought) %}
            {{- '<|im_start|>assistant\\n<think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- '<|im_start|>assistant\\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}"""

# Strict alternation, the system message folded into the first user message.
MISTRAL = """\
{%- if messages[0]['role'] == 'system' -%}
    {%- set system_message = messages[0]['content'] -%}
    {%- set turns = messages[1:] -%}
{%- else -%}
    {%- set turns = messages -%}
{%- endif -%}
{{- bos_token -}}
{%- for message in turns -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{- raise_exception('Roles must alternate: user, assistant, user, ...') -}}
    {%- endif -%}
    {%- if message['role'] == 'user' -%}
        {%- if loop.first and system_message is defined -%}
            {{- ' [INST] ' + system_message + '\\n\\n' + message['content'] + ' [/INST]' -}}
        {%- else -%}
            {{- ' [INST] ' + message['content'] + ' [/INST]' -}}
        {%- endif -%}
    {%- elif message['role'] == 'assistant' -%}
        {{- ' ' + message['content'] + eos_token -}}
    {%- else -%}
        {{- raise_exception('Only user and assistant roles come after the first message, not ' + message['role']) -}}
    {%- endif -%}
{%- endfor -%}"""

LLAMA2 = """\
{% set rules = messages[0]['content'] if messages[0]['role'] == 'system' else '' %}\
{% set turns = messages[1:] if messages[0]['role'] == 'system' else messages %}\
{% for message in turns %}\
{% if loop.index is odd and message['role'] != 'user' or loop.index is even and message['role'] != 'assistant' %}\
{{ raise_exception('Turns go user, assistant, user, ...; turn ' ~ loop.index ~ ' is ' ~ message['role']) }}\
{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' }}\
{% if loop.first and rules %}{{ '<<SYS>>\\n' + rules + '\\n<</SYS>>\\n\\n' }}{% endif %}\
{{ message['content'].strip() + ' [/INST]' }}\
{% else %}{{ ' ' + message['content'].strip() + ' ' + eos_token }}{% endif %}{% endfor %}"""

# Block tags on lines of their own: trim_blocks and lstrip_blocks must be on for these.
GEMMA = """\
{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {{ raise_exception('System role not supported') }}
{%- endif -%}
{% for message in messages %}
    {% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{ raise_exception('Conversation roles must alternate user and assistant') }}
    {% endif %}
    {% if (message['role'] == 'assistant') %}
        {% set role = 'model' %}
    {% else %}
        {% set role = message['role'] %}
    {% endif %}
    {{- '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}
{% endfor %}
{% if add_generation_prompt %}
    {{- '<start_of_turn>model\\n' }}
{% endif %}"""

PHI = """\
{% for message in messages %}{% if message['role'] == 'system' and message['content'] %}\
{{ '<|system|>\\n' + message['content'] + '<|end|>\\n' }}{% elif message['role'] == 'user' %}\
{{ '<|user|>\\n' + message['content'] + '<|end|>\\n' }}{% elif message['role'] == 'assistant' %}\
{{ '<|assistant|>\\n' + message['content'] + '<|end|>\\n' }}{% endif %}{% endfor %}\
{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}"""

STRICT_ROLES = """\
{%- for message in messages %}
    {%- if message.role not in ['system', 'user', 'assistant'] %}
        {{- raise_exception('Unknown role "' ~ message.role ~ '" at position ' ~ loop.index) }}
    {%- endif %}
    {{- '[' ~ message.role | upper ~ ']' ~ message.content ~ '[/]' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '[ASSISTANT]' }}
{%- endif %}"""

NAMESPACE = """\
{%- set state = namespace(system='', turns=0, seen=[]) %}
{%- for message in messages %}
    {%- if message.role == 'system' %}
        {%- set state.system = state.system + ('\\n' if state.system else '') + message.content | trim %}
    {%- else %}
        {%- set state.turns = state.turns + 1 %}
        {%- set state.seen = state.seen + [message.role] %}
    {%- endif %}
{%- endfor %}
{%- for message in messages if message.role != 'system' %}
    {%- if loop.first %}
        {{- '<<' + (state.system or 'no system') + '>>' }}
    {%- endif %}
    {{- '(' ~ loop.index ~ '/' ~ loop.length ~ ' ' ~ message.role | capitalize ~ ') ' }}
    {{- message['content'] | trim }}
    {%- if not loop.last %}
        {{- '\\n---\\n' }}
    {%- endif %}
{%- endfor %}
{{- '\\n' ~ state.turns ~ ' turns: ' ~ state.seen | join(', ') }}
{%- if add_generation_prompt is defined and add_generation_prompt %}
    {{- ' ->' }}
{%- endif %}"""

# A macro with a default, dict methods of Python, filters, a conditional on the content's length.
MACROS = """\
{%- macro block(name, text, close='end') -%}
<{{ name }}>{{ text }}</{{ close }}>
{%- endmacro -%}
{%- set names = {'system': 'rules', 'user': 'question'} -%}
{%- for message in messages -%}
    {{- block(names.get(message.role, 'answer'), message.content | replace('\\t', ' ')) -}}
    {%- if message.content | length > 20 %} (long){% endif -%}
    {{- '\\n' if not loop.last else '' -}}
{%- endfor -%}
{%- for key, value in names.items() | sort -%}
    {{- ' ' ~ key[:1] ~ '=' ~ value.title() -}}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '\\n<answer>' }}{% endif -%}"""

# One newline at a template's end is dropped; the second stays.
TRAILING = """\
{# A comment alone on its line leaves nothing behind. #}
{% for message in messages %}
{{ message.role }}: {{ message.content }}
{% endfor %}
{% if add_generation_prompt %}
assistant:
{% endif %}
<<{{ bos_token }}>>

"""

# What is not there: printing it gives nothing, reading a member of it is an error.
UNDEFINED = """\
{{- '[' }}{{ nothing }}{{ messages[0].nickname }}{{ messages[0]['nickname'] or 'none' -}}
{{- '|' ~ (nothing | default('left out')) ~ '|' ~ 7 // 2 ~ '|' ~ 7 / 2 -}}
{%- for message in messages %}
    {%- if message.role == 'tool' %}
        {{- nothing.member }}
    {%- endif %}
    {{- ' ' ~ message.content[:4] ~ '..' ~ message.content[-3:] ~ ' ' ~ message.content.upper().count('A') }}
{%- endfor %}
{{- ']' }}"""
