"""Chat templates with tools, in the styles that model hubs use, written for these fixtures."""

# Tools in the first user message, calls as bare JSON, results under a role of their own.
LLAMA31 = """\
{{- bos_token }}
{%- if not tools is defined %}{% set tools = none %}{% endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system = '' %}
{%- endif %}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\n' }}
{%- if tools is not none %}{{- 'Environment: ipython\\n' }}{%- endif %}
{{- system + '<|eot_id|>' }}
{%- if tools is not none and tools %}
    {%- if messages | length == 0 %}{{- raise_exception('Tools need a user message') }}{%- endif %}
    {%- set first = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
    {{- '<|start_header_id|>user<|end_header_id|>\\n\\nFunctions:\\n\\n' }}
    {%- for t in tools %}{{- t | tojson(indent=4) }}{{- '\\n\\n' }}{%- endfor %}
    {{- first + '<|eot_id|>' }}
{%- endif %}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls | length == 1 %}{{- raise_exception('One call at a time, please') }}{%- endif %}
        {%- set call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n{"name": "' + call.name + '", "parameters": ' }}
        {{- call.arguments | tojson }}{{- '}<|eot_id|>' }}
    {%- else %}
        {{- '<|start_header_id|>ipython<|end_header_id|>\\n\\n' }}
        {%- if message.content is mapping or message.content is iterable %}{{- message.content | tojson }}
        {%- else %}{{- message.content }}{%- endif %}
        {{- '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}"""

# Reasoning beside the content, calls that may hold their arguments as text, neighbours of a result.
QWEN3 = """\
{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}{{- messages[0].content + '\\n\\n' }}{%- endif %}
    {{- '# Tools\\n\\n<tools>' }}
    {%- for tool in tools %}{{- '\\n' }}{{- tool | tojson }}{%- endfor %}
    {{- '\\n</tools><|im_end|>\\n' }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.content is string %}{%- set content = message.content %}{%- else %}{%- set content = '' %}{%- endif %}
    {%- if message.role == 'user' or (message.role == 'system' and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>\\n' }}
    {%- elif message.role == 'assistant' %}
        {%- set reasoning = '' %}
        {%- if message.reasoning_content is string %}{%- set reasoning = message.reasoning_content %}{%- endif %}
        {%- generation %}
        {{- '<|im_start|>assistant\\n' }}
        {%- if reasoning %}{{- '<think>\\n' + reasoning.strip('\\n') + '\\n</think>\\n\\n' }}{%- endif %}
        {{- content.lstrip('\\n') }}
        {%- if message.tool_calls %}
            {%- for call in message.tool_calls %}
                {%- if (loop.first and content) or (not loop.first) %}{{- '\\n' }}{%- endif %}
                {%- if call.function %}{%- set call = call.function %}{%- endif %}
                {{- '<tool_call>\\n{"name": "' }}{{- call.name }}{{- '", "arguments": ' }}
                {%- if call.arguments is string %}{{- call.arguments }}{%- else %}{{- call.arguments | tojson }}{%- endif %}
                {{- '}\\n</tool_call>' }}
            {%- endfor %}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
        {%- endgeneration %}
    {%- elif message.role == 'tool' %}
        {%- if loop.first or (messages[loop.index0 - 1].role != 'tool') %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\\n<tool_response>\\n' + content + '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != 'tool') %}{{- '<|im_end|>\\n' }}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""

# Tools beside the last user message only, keys of a schema picked one by one, ids of nine characters.
MISTRAL = """\
{%- set users = messages | selectattr('role', 'equalto', 'user') | list %}
{%- set ns = namespace(index=0) %}
{%- for message in messages if message.role in ['user', 'assistant'] and not message.tool_calls %}
    {%- if (message.role == 'user') != (ns.index % 2 == 0) %}{{- raise_exception('Roles must alternate') }}{%- endif %}
    {%- set ns.index = ns.index + 1 %}
{%- endfor %}
{{- bos_token }}
{%- for message in messages %}
    {%- if message.role == 'user' %}
        {%- if tools is not none and message == users[-1] %}
            {{- '[AVAILABLE_TOOLS] [' }}
            {%- for tool in tools %}
                {%- set tool = tool.function %}
                {{- '{"type": "function", "function": {' }}
                {%- for key, val in tool.items() if key != 'return' %}
                    {%- if val is string %}{{- '"' + key + '": "' + val + '"' }}
                    {%- else %}{{- '"' + key + '": ' + val | tojson }}{%- endif %}
                    {%- if not loop.last %}{{- ', ' }}{%- endif %}
                {%- endfor %}
                {{- '}}' }}
                {%- if not loop.last %}{{- ', ' }}{%- else %}{{- ']' }}{%- endif %}
            {%- endfor %}
            {{- '[/AVAILABLE_TOOLS]' }}
        {%- endif %}
        {{- '[INST] ' + message.content + '[/INST]' }}
    {%- elif message.tool_calls is defined and message.tool_calls is not none %}
        {{- '[TOOL_CALLS] [' }}
        {%- for call in message.tool_calls %}
            {%- set out = call.function | tojson %}
            {{- out[:-1] }}
            {%- if call.id is not defined or call.id | length != 9 %}{{- raise_exception('Ids have nine characters') }}{%- endif %}
            {{- ', "id": "' + call.id + '"}' }}
            {%- if not loop.last %}{{- ', ' }}{%- else %}{{- ']' + eos_token }}{%- endif %}
        {%- endfor %}
    {%- elif message.role == 'assistant' %}
        {{- ' ' + message.content | trim + eos_token }}
    {%- elif message.role == 'tool' %}
        {{- '[TOOL_RESULTS] {"content": ' + message.content | string + ', "call_id": "' + message.tool_call_id + '"}[/TOOL_RESULTS]' }}
    {%- else %}
        {{- raise_exception('Only user, assistant and tool here, not ' ~ message.role) }}
    {%- endif %}
{%- endfor %}"""

# Schemas as TypeScript-like signatures, made by macros that call each other.
COMMAND_R = """\
{%- macro kind(schema) -%}
    {%- if schema.type == 'array' -%}List[{{ kind(schema['items']) }}]
    {%- elif schema.type == 'object' -%}
        {{- '{' }}{% for key, value in schema.properties.items() %}{{ key }}: {{ kind(value) }}{{ ', ' if not loop.last }}{% endfor %}{{ '}' }}
    {%- elif schema.enum -%}Literal[{{ schema.enum | map('string') | join('|') }}]
    {%- elif schema.type in ['integer', 'number'] -%}{{ {'integer': 'int', 'number': 'float'}[schema.type] }}
    {%- else -%}{{ schema.type | replace('string', 'str') | default('Any', true) }}
    {%- endif -%}
{%- endmacro -%}
{{ bos_token }}{% if messages[0].role == 'system' %}{% set rest = messages[1:] %}{% set preamble = messages[0].content %}
{%- else %}{% set rest = messages %}{% set preamble = 'A default preamble.' %}{% endif -%}
<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|># Preamble
{{ preamble }}
{% if tools %}
## Tools
{% for tool in tools %}
{% set f = tool.function %}
```python
def {{ f.name }}(
{%- for name, field in f.parameters.properties.items() -%}
    {{ loop.cycle('', ', ') if loop.first else ', ' }}{{ name }}: {{ kind(field) if name in (f.parameters.required or []) else 'Optional[' + kind(field) + ']' }}
{%- endfor %}):
    \\"\\"\\"{{ f.description | trim | capitalize }}\\"\\"\\"
```
{% endfor %}
{% endif %}
<|END_OF_TURN_TOKEN|>
{%- for message in rest %}
    {%- set token = {'user': 'USER', 'assistant': 'CHATBOT', 'tool': 'SYSTEM'}.get(message.role, 'UNKNOWN') %}
    {{- '<|START_OF_TURN_TOKEN|><|' ~ token ~ '_TOKEN|>' }}
    {%- if message.tool_calls %}
        {{- 'Action: ```json\\n' }}{{ message.tool_calls | map(attribute='function') | list | tojson(indent=2) }}{{- '\\n```' }}
    {%- elif message.role == 'tool' %}
        {{- '<results>\\n' ~ loop.index ~ ': ' ~ message.content ~ '\\n</results>' }}
    {%- else %}
        {{- message.content.strip() }}
    {%- endif %}
    {{- '<|END_OF_TURN_TOKEN|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>' }}{% endif %}"""

GRANITE = """\
{%- if tools %}
    {{- '<|start_of_role|>available_tools<|end_of_role|>\\n' }}
    {%- for tool in tools %}
        {{- tool | tojson(indent=4) }}
        {%- if not loop.last %}{{- '\\n\\n' }}{%- endif %}
    {%- endfor %}
    {{- '<|end_of_text|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message['role'] in ['system', 'user'] %}
        {{- '<|start_of_role|>' + message['role'] + '<|end_of_role|>' + message['content'] + '<|end_of_text|>\\n' }}
    {%- elif message['role'] == 'assistant' %}
        {{- '<|start_of_role|>assistant<|end_of_role|>' + (message['content'] or '') }}
        {%- if message.get('tool_calls') %}{{- '<|tool_call|>' ~ message['tool_calls'] | map(attribute='function') | list | tojson(separators=(',', ':')) }}{%- endif %}
        {{- '<|end_of_text|>\\n' }}
    {%- else %}
        {{- '<|start_of_role|>' + message['role'] + '_response<|end_of_role|>' ~ message['content'] ~ '<|end_of_text|>\\n' }}
    {%- endif %}
    {%- if loop.last and add_generation_prompt %}{{- '<|start_of_role|>assistant<|end_of_role|>' }}{%- endif %}
{%- endfor %}"""

# State in a namespace across messages; tool results gathered into one block; arguments pasted as text.
DEEPSEEK = """\
{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}\
{% set ns = namespace(is_first=false, is_tool=false, system='', open=false) %}\
{%- for message in messages %}{%- if message['role'] == 'system' %}\
{%- set ns.system = ns.system + ('\\n\\n' if ns.system else '') + message['content'] %}{%- endif %}{%- endfor %}\
{{ bos_token }}{{ ns.system }}{% if tools %}{{ '\\n\\n## Tools' }}{% for tool in tools %}\
{{ '\\n- ' ~ tool.function.name ~ ': ' ~ (tool.function.parameters | tojson(sort_keys=true)) }}{% endfor %}{% endif %}\
{%- for message in messages %}\
{%- if message['role'] == 'user' %}{%- set ns.is_tool = false %}{{ '<｜User｜>' + message['content'] }}{%- endif %}\
{%- if message['role'] == 'assistant' and message['tool_calls'] is defined and message['tool_calls'] is not none %}\
{%- set ns.is_first = true %}{{ '<｜Assistant｜><｜tool▁calls▁begin｜>' }}\
{%- for call in message['tool_calls'] %}{{ '\\n' if not ns.is_first else '' }}\
{{ '<｜tool▁call▁begin｜>' + call['type'] + '<｜tool▁sep｜>' + call['function']['name'] + '\\n```json\\n' ~ call['function']['arguments'] ~ '\\n```<｜tool▁call▁end｜>' }}\
{%- set ns.is_first = false %}{%- endfor %}{{ '<｜tool▁calls▁end｜><｜end▁of▁sentence｜>' }}\
{%- elif message['role'] == 'assistant' %}{%- if ns.is_tool %}{{ '<｜tool▁outputs▁end｜>' }}{%- set ns.is_tool = false %}{%- else %}{{ '<｜Assistant｜>' }}{%- endif %}\
{%- set content = message['content'] %}{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}\
{{ content + '<｜end▁of▁sentence｜>' }}{%- endif %}\
{%- if message['role'] == 'tool' %}{{ '<｜tool▁outputs▁begin｜>' if not ns.is_tool else '\\n' }}{%- set ns.is_tool = true %}\
{{ '<｜tool▁output▁begin｜>' ~ message['content'] ~ '<｜tool▁output▁end｜>' }}{%- endif %}\
{%- endfor -%}\
{% if ns.is_tool %}{{ '<｜tool▁outputs▁end｜>' }}{% endif %}{% if add_generation_prompt and not ns.is_tool %}{{ '<｜Assistant｜>' }}{% endif %}"""

# One text, to which every message is added, then printed at once.
GROWING = """\
{%- set ns = namespace(text='') %}
{%- if tools %}{%- set ns.text = ns.text + tools | tojson + '\\n' %}{%- endif %}
{%- for message in messages %}
    {%- set ns.text = ns.text + '<|' + message.role + '|>' %}
    {%- if message.content is string %}{%- set ns.text = ns.text + message.content %}
    {%- elif message.content is sequence %}
        {%- for part in message.content %}
            {%- if part.type == 'text' %}{%- set ns.text = ns.text + part.text %}{%- else %}{%- set ns.text = ns.text + '<' ~ part.type ~ '>' %}{%- endif %}
        {%- endfor %}
    {%- endif %}
    {%- set ns.text = ns.text ~ '<|end|>\\n' %}
{%- endfor %}
{{- ns.text }}{{ '<|assistant|>' if add_generation_prompt }}"""

PHI4 = """\
{{- '<|system|>' if tools or messages[0].role == 'system' }}
{%- if messages[0].role == 'system' %}{{- messages[0].content }}{%- endif %}
{%- if tools %}{{- '<|tool|>' + tools | map(attribute='function') | list | tojson + '<|/tool|>' }}{%- endif %}
{{- '<|end|>' if tools or messages[0].role == 'system' }}
{%- for message in messages %}
    {%- if message.role == 'system' %}{% continue %}{% endif %}
    {{- '<|' ~ message.role ~ '|>' }}
    {%- if message.tool_calls is defined %}{{- '<|tool_call|>' ~ message.tool_calls | tojson ~ '<|/tool_call|>' }}{%- endif %}
    {{- message.content if message.content is defined and message.content is not none }}
    {{- '<|end|>' }}
    {%- if loop.index > 40 %}{% break %}{% endif %}
{%- endfor %}
{{- '<|assistant|>' if add_generation_prompt else eos_token }}"""

GEMMA3 = """\
{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}{%- set prefix = messages[0]['content'] + '\\n\\n' -%}
    {%- else -%}{%- set prefix = messages[0]['content'][0]['text'] + '\\n\\n' -%}{%- endif -%}
    {%- set turns = messages[1:] -%}
{%- else -%}
    {%- set prefix = '' -%}{%- set turns = messages -%}
{%- endif -%}
{%- for message in turns -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("Conversation roles must alternate user/assistant/user/assistant/...") }}
    {%- endif -%}
    {%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}
    {{ '<start_of_turn>' + role + '\\n' + (prefix if loop.first else '') }}
    {%- if message['content'] is string -%}{{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}
            {%- if item['type'] == 'image' -%}{{ '<start_of_image>' }}{%- elif item['type'] == 'text' -%}{{ item['text'] | trim }}{%- endif -%}
        {%- endfor -%}
    {%- else -%}{{ raise_exception('Invalid content type') }}{%- endif -%}
    {{ '<end_of_turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<start_of_turn>model\\n' }}{%- endif -%}"""

# name, template, bos, eos
TEMPLATES = [
    ("llama3.1", LLAMA31, "<|begin_of_text|>", "<|eot_id|>"),
    ("qwen3_tools", QWEN3, None, "<|im_end|>"),
    ("mistral_tools", MISTRAL, "<s>", "</s>"),
    ("command_r", COMMAND_R, "<BOS_TOKEN>", "<|END_OF_TURN_TOKEN|>"),
    ("granite", GRANITE, None, "<|end_of_text|>"),
    ("deepseek", DEEPSEEK, "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"),
    ("growing", GROWING, None, None),
    ("phi4", PHI4, None, "<|endoftext|>"),
    ("gemma3", GEMMA3, "<bos>", "<eos>"),
]

# What templates are made of, one by one: each is rendered with the conversation "two_calls" and both tools.
EXPRESSIONS = [
    "{{ tools[0] | tojson }}",
    "{{ tools | tojson(indent=2) }}",
    "{{ tools[0].function.parameters | tojson(indent=0) }}",
    "{{ tools[1] | tojson(indent='\t') }}",
    "{{ tools[1] | tojson(separators=(',', ':')) }}",
    "{{ tools[1] | tojson(sort_keys=true, indent=1) }}",
    "{{ tools[1] | tojson(true) }} {{ tools[1] | tojson(ensure_ascii=true) }}",
    "{{ {2: 2, none: [], true: {}, 1.5: 'x'} | tojson }}",
    "{{ [1e16, 1e-5, 0.0001, 1.0, 100000000000000000000.0, -0.0] | tojson }} {{ 1e16 }} {{ 0.1 + 0.2 }} {{ 1e-7 }}",
    "{{ 'a\\u2028\\x7f\\x1b\\b\\f/<>&\\'' | tojson }}",
    "{{ tools[0] }}",
    "{{ tools[0].function.parameters.properties.days['items'] }}",
    "{% for k, v in tools[0].function.parameters.properties.days.items() %}{{ k }}={{ v }};{% endfor %}",
    "{{ tools[0].function.parameters.properties.keys() | list }}",
    "{{ tools is sequence }} {{ 'x' is sequence }} {{ {} is sequence }} {{ 1 is sequence }} {{ none is sequence }}",
    "{{ tools is iterable }} {{ 'x' is iterable }} {{ {} is iterable }} {{ 1 is iterable }} {{ tools is mapping }}",
    "{{ tools[0] is mapping }} {{ none is none }} {{ documents is none }} {{ 1 is number }} {{ true is number }} {{ 1.0 is float }}",
    "{{ messages[1].content is defined }} {{ messages[1].tool_calls is defined }} {{ messages[0].tool_calls is defined }}",
    "{{ messages[1].get('content', 'nothing') }} {{ 'content' in messages[1] }} {{ messages[1].tool_calls | length }}",
    "{{ messages[1] }}",
    "{{ messages[1].tool_calls[0].function.arguments.city }} {{ messages[1].tool_calls[0]['function']['name'] }}",
    "{{ messages | map(attribute='role') | join(',') }} {{ messages | map(attribute='name', default='-') | join(',') }}",
    "{{ messages | selectattr('tool_calls', 'defined') | list | length }} {{ messages | rejectattr('role', 'in', ['user', 'tool']) | map(attribute='role') | list }}",
    "{{ messages[-1].content }} {{ (messages | last).role }} {{ (messages | first)['role'] }} {{ messages[-2:] | length }}",
    "{% for m in messages %}{{ loop.cycle('a', 'b', 'c') }}{{ loop.revindex }}{{ loop.first }}{% endfor %}",
    "{% for m in messages %}{% if loop.index0 == 1 %}{% continue %}{% endif %}{% if loop.last %}{% break %}{% endif %}{{ m.role }} {% endfor %}",
    "{% for m in messages %}{% generation %}{{ loop.index }}{% set x = 1 %}{% endgeneration %}{{ x is defined }}{% endfor %}",
    "{% for m in [] %}x{% else %}none{% endfor %} {% for k in {'b': 1, 'a': 2} %}{{ k }}{% endfor %}",
    "{% macro f(a, b='x') %}{{ a }}-{{ b }}{% endmacro %}{{ f(1) }} {{ f(1, b=2) }} {{ f(b=3, a=4) }}",
    "{% macro depth(n) %}{{ n }}{% if n < 5 %}{{ depth(n + 1) }}{% endif %}{% endmacro %}{{ depth(0) }}",
    "{% set ns = namespace(a=1, b='x') %}{% set ns.a = ns.a + 1 %}{% set ns.c = [ns.a] %}{{ ns.a }}{{ ns.b }}{{ ns.c }}",
    "{% set x %} a {{ messages[0].role }} {% endset %}[{{ x }}] {% filter upper %}abc{% endfilter %}",
    "{{ 'Hello World' | lower }} {{ 'abc def' | title }} {{ 'ABC' | capitalize }} {{ '  x ' | trim }}| {{ 'x' ~ 1 ~ none ~ true }}",
    "{{ 'a-b-c'.split('-') }} {{ 'a b'.split() }} {{ 'abc'.startswith('ab') }} {{ 'abc'.endswith(('c', 'd')) }} {{ 'x,y'.replace(',', ';') }}",
    "{{ ' x '.strip() }}{{ 'xxaxx'.strip('x') }}{{ 'xxa'.lstrip('x') }}{{ 'axx'.rstrip('x') }} {{ 'aXb'.lower() }} {{ 'ab'.upper() }} {{ 'ab cd'.title() }}",
    "{{ 'abcabc'.find('c') }} {{ 'abcabc'.count('b') }} {{ '-'.join(['a', 'b']) }} {{ 'a\\nb'.splitlines() }} {{ '12'.isdigit() }}",
    "{{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 2 ** 10 }} {{ 7 / 2 }} {{ 4 / 2 }} {{ 1.5 + 1 }} {{ 10 % 4 }}",
    "{{ 1 == 1.0 }} {{ 'a' < 'b' }} {{ [1, 2] == [1, 2] }} {{ {'a': 1} == {'a': 1} }} {{ none == false }} {{ 1 in [1] }} {{ 'a' not in 'b' }}",
    "{{ '' or 'x' }} {{ 0 or none }} {{ [] and 1 }} {{ not '' }} {{ 'a' if true }} {{ 'a' if false }}|",
    "{{ [3, 1, 2] | sort }} {{ [1, 2] | reverse | list }} {{ {'b': 2, 'a': 1} | dictsort }} {{ ['b', 'A'] | sort }} {{ [1, 1, 2] | unique | list }}",
    "{{ [1, 2, 3] | sum }} {{ [1, 5, 2] | max }} {{ [4, 5, 2] | min }} {{ -3 | abs }} {{ 3.7 | int }} {{ '3' | int + 1 }} {{ 2.567 | round(1) }}",
    "{{ 'x' | default('y') }} {{ nope | default('y') }} {{ '' | default('y', true) }} {{ none | default('y') }} {{ nope is undefined }}",
    "{{ range(5) | list }} {{ range(1, 10, 3) | list }} {{ range(3) | length }} {{ (1, 2) }} {{ (1,) }} {{ [] }} {{ {} }} {{ ['it\\'s', \"q\\\"\"] }}",
    "{{ 'abcdef'[1:3] }} {{ 'abc'[::-1] }} {{ 'abc'[-1] }} {{ [1, 2, 3][::2] }} {{ 'abc'[5:] }}|",
    "{{ dict(a=1, b='x') }} {{ dict({'a': 1}, b=2) }} {{ {'a': 1}.get('b') }} {{ {'a': 1}.items() | list }} {{ {'a': 1}.values() | list }}",
    "{{ true }} {{ false }} {{ none }} {{ True }} {{ None }} {{ 1_000 }} {{ 0x10 }} {{ 1e3 }}",
    "{{ 'a' * 3 }} {{ [0] * 2 }} {{ 'é' | length }} {{ '👩‍🔬' | length }} {{ 'ß' | upper }} {{ 'x' | string }} {{ 12 | string + '3' }}",
    "{{ messages[0].content.nothing }}|{{ messages[9] }}|{{ messages[0]['nothing'] }}|{{ tools[0].nothing is defined }}",
    "{{ messages[0].nothing.more }}",
    "{{ nothing.more }}",
    "{{ nothing() }}",
    "{{ 'a' + 1 }}",
    "{{ [1] + 'a' }}",
    "{{ raise_exception('tools: ' ~ tools | length) }}",
    "{{ messages[0].content | items | list }}",
    "{{ tools[0].items() | list | length }} {{ tools[0].function | length }} {{ tools | length }}",
    "{% if tools is not none and tools | length > 1 and tools[1].function.name == 'note' %}yes{% endif %}",
    "{{ strftime_now('%Y') | length }} {{ strftime_now('') }}|{{ strftime_now('%%') }}",
    "{%- for t in tools -%}{%- set f = t['function'] -%}{{ f.name }}({{ f.parameters.properties | join(', ') }}){%- endfor -%}",
    "{% for m in messages recursive %}{{ m.role[0] }}{% endfor %} {% set a, b = ['x', 'y'] %}{{ b }}{{ a }}",
    "{% with x = 1, y = 2 %}{{ x + y }}{% endwith %}{{ x is defined }}",
    "{% call(x) f2() %}{{ x }}{% endcall %}",
    "{%- macro f2() %}<{{ caller('in') }}>{% endmacro %}{% call(x) f2() %}{{ x }}{% endcall %}",
]
