"""What the demo model knows about plimsoll: one entry per topic.

A topic has one answer, one further sentence for "tell me more", and its questions:
`what` are noun phrases (put into the frames of phrasing.WHAT), `to` are verb phrases
(put into phrasing.HOW), `ask` are whole questions.
"""

from typing import NamedTuple


class Topic(NamedTuple):
    name: str
    answer: str
    more: str
    what: tuple = ()
    to: tuple = ()
    ask: tuple = ()


def _lines(text):
    return tuple(line.strip() for line in text.strip().splitlines() if line.strip())


def _topic(name, answer, more, what="", to="", ask=""):
    split = lambda text: tuple(part.strip() for part in text.split("|") if part.strip())
    return Topic(name, answer, more, split(what), split(to), _lines(ask))


TOPICS = [
    _topic(
        "plimsoll",
        "plimsoll is an embeddable LLM runtime: one shared library with a C ABI.",
        "It lets a program run language models without running out of memory.",
        what="plimsoll|this library|the plimsoll library|this project|the plimsoll project|this software",
        ask="""
            what does plimsoll do?
            what is plimsoll for?
            why would i use plimsoll?
            what can plimsoll do for my program?
            what kind of software is this?
            give me an overview of plimsoll
            what is the purpose of plimsoll?
            introduce plimsoll to me
            summarise this library
            what is this thing called plimsoll?
            who needs plimsoll?
            what sort of library are you part of?
        """,
    ),
    _topic(
        "name_origin",
        "It is named after the Plimsoll line, the load line painted on a ship's hull.",
        "The line shows how deep a loaded ship may sit in the water.",
        what="the plimsoll line|a load line|the load line|the line on a hull|the name plimsoll",
        ask="""
            why is it called plimsoll?
            where does the name come from?
            why that name?
            who chose the name plimsoll and why?
            what has a ship to do with it?
            what is painted on the hull of a ship?
            is plimsoll named after something?
            the origin of the name?
            what do ships have to do with memory?
            why the name?
            named after what?
            what does the word plimsoll come from?
        """,
    ),
    _topic(
        "promise",
        "An admitted request never fails for memory that plimsoll owns.",
        "Its bytes are leased before it runs, so they are there when it needs them.",
        what="the promise of plimsoll|the guarantee|the memory guarantee|plimsoll's promise|the central promise",
        ask="""
            what does plimsoll promise?
            what does plimsoll guarantee?
            can a request run out of memory?
            will my request fail for lack of memory?
            can an admitted request fail?
            what happens after a request is admitted?
            is there any guarantee about memory?
            could my program crash because memory runs out?
            how safe is an accepted request?
            do you ever run out of memory?
            what is guaranteed once a request is accepted?
        """,
    ),
    _topic(
        "languages",
        "You can link plimsoll from C, C++, Go and Rust programs.",
        "They all go through the same C ABI.",
        what="the languages you support|language support|the supported programming languages",
        to="use plimsoll from go|use plimsoll from rust|call plimsoll from c++|link the library from go",
        ask="""
            which programming languages are supported?
            which languages can use plimsoll?
            does it work with rust?
            does it work with go?
            can i call it from c++?
            is there support for golang?
            can a rust program link it?
            what languages can i use?
            can c programs link it?
            which programs can link plimsoll?
            do you support c++?
            what programming language must my program be written in?
        """,
    ),
    _topic(
        "formats",
        "plimsoll loads Hugging Face folders with safetensors, and GGUF files.",
        "A GGUF file carries its own tokenizer and template.",
        what="the supported model formats|the file formats|gguf|safetensors|a gguf file|a safetensors file|the model format",
        ask="""
            which model formats can it load?
            which file formats are supported?
            can i use a gguf file?
            does it read safetensors?
            can it load hugging face models?
            what files does a model consist of?
            what kind of model files work?
            do you read gguf?
            which formats can plimsoll read?
            is a hugging face folder fine?
            in what format must the weights be?
            what types of files can be loaded?
        """,
    ),
    _topic(
        "price",
        "Every request is priced in bytes before it runs: its KV cache and its workspace.",
        "The price is what is then allocated, not a guess.",
        what="the price of a request|pricing|the estimate|the price|an estimate",
        to="price a request|estimate a request|work out the price of a request",
        ask="""
            how is a request priced?
            how much memory does a request cost?
            what does a request cost?
            when is the price computed?
            in what unit is a request priced?
            what is counted in the price?
            how do you know how many bytes a request takes?
            how does plimsoll estimate memory?
            why are requests priced?
            does plimsoll know the cost in advance?
            what do you charge for a request?
        """,
    ),
    _topic(
        "verdicts",
        "There are four verdicts: accept, shrink, route and reject.",
        "A verdict always comes with its numbers.",
        what="a verdict|the verdicts|the possible verdicts|the decisions of the guard|an admission decision|the verdict",
        ask="""
            which verdicts exist?
            what verdicts are there?
            how many verdicts are there?
            what can the guard decide?
            what are the possible decisions?
            list the verdicts
            what decisions can be made about a request?
            what happens to a request once it is priced?
            name the four verdicts
            which decisions are possible?
            what are the outcomes of admission?
            what are the four outcomes?
        """,
    ),
    _topic(
        "shrink",
        "A shrink grants fewer max_tokens, so that the request fits the free bytes.",
        "It never goes below the minimum that the caller set.",
        what="a shrink|shrinking|a shrunk request|the shrink verdict|shrink",
        ask="""
            when is a request shrunk?
            what does it mean to shrink a request?
            why was my request shrunk?
            why is my answer shorter than i asked?
            what happens when a request is a bit too big?
            how does plimsoll make a request smaller?
            why did i get fewer tokens?
            why were my max_tokens reduced?
            can a request be made smaller?
            what gets smaller in a shrink?
            my request was shrunk, what does that mean?
        """,
    ),
    _topic(
        "reject",
        "A refusal comes with numbers: bytes asked, bytes free and the max_tokens that would fit.",
        "It also says after how many milliseconds to try again.",
        what="a refusal|a rejected request|a reject|rejection|the reject verdict|a refused request",
        ask="""
            when is a request refused?
            why was my request rejected?
            why was my request refused?
            what happens when a request does not fit?
            what does a refusal tell me?
            what happens if there is too little memory?
            what do i learn from a rejection?
            which numbers come with a refusal?
            what is in a rejection?
            my request got rejected, now what?
            what do you say when you refuse a request?
            can plimsoll refuse a request?
        """,
    ),
    _topic(
        "route",
        "A routed request goes to another engine that has room for it.",
        "The caller sees the reason of the choice in the verdict.",
        what="routing|a routed request|the route verdict|a route",
        to="route a request",
        ask="""
            when is a request routed?
            where does a routed request go?
            why was my request routed?
            why did my request go to another engine?
            what happens to a routed request?
            can a request move to a bigger engine?
            what does it mean when a request is routed?
            can another engine take a request?
            who gets a routed request?
            my request was routed, why?
        """,
    ),
    _topic(
        "ticket",
        "A ticket owns the bytes granted to a request until generate consumes it, it is freed or it expires.",
        "A ticket can be used once.",
        what="a ticket|tickets|the ticket|a plimsoll_ticket|a plimsoll ticket|an admission ticket",
        ask="""
            what are tickets for?
            what is a ticket good for?
            how long does a ticket live?
            what does a ticket own?
            do tickets expire?
            what happens when a ticket expires?
            can i use a ticket twice?
            why do i need a ticket?
            who consumes the ticket?
            when is a ticket used up?
            what does a ticket hold?
            is a ticket needed?
        """,
    ),
    _topic(
        "lease",
        "A lease is an owned reservation of bytes; dropping it returns the bytes exactly once.",
        "A lease cannot be copied.",
        what="a lease|leases|the lease|a memory lease|a lease of bytes",
        ask="""
            what are leases for?
            what happens when a lease is dropped?
            how are bytes reserved?
            how is memory reserved?
            can a lease be copied?
            who pays for a byte?
            what does a lease do?
            what does dropping a lease do?
            when does a lease give back its bytes?
            why are there leases?
            how do leases work?
            who owns a reservation?
        """,
    ),
    _topic(
        "session",
        "A session holds one conversation: its text and its tokens.",
        "The engine keeps only the KV cache of a session.",
        what="a session|sessions|the session|a plimsoll_session|a plimsoll session|a chat session",
        ask="""
            what is a session for?
            what does a session hold?
            what does a session contain?
            what is stored in a session?
            who owns a conversation?
            where is my conversation kept?
            where is the text of a conversation stored?
            what belongs to a session?
            why do i need a session?
            what does a session remember?
            how do sessions work?
        """,
    ),
    _topic(
        "session_open",
        "Call plimsoll_session_open to start a session on a model.",
        "It takes the model and an optional config.",
        what="plimsoll_session_open|the function plimsoll_session_open|session_open",
        to="open a session|start a session|create a session|begin a session|start a conversation|begin a conversation|open a new session|get a session|make a session|start a chat session",
        ask="""
            what does plimsoll_session_open do?
            when do i call plimsoll_session_open?
            which function opens a session?
            which call starts a conversation?
            what creates a session?
            how are sessions opened?
            where do i get a session from?
            how is a session started?
            how is a new conversation begun?
        """,
    ),
    _topic(
        "session_close",
        "Call plimsoll_session_free when a conversation is over.",
        "Its KV cache is freed and the leases go back.",
        what="plimsoll_session_free|the function plimsoll_session_free|session_free",
        to="close a session|end a session|finish a session|end a conversation|close my session|free a session|get rid of a session|end a chat session|finish a conversation",
        ask="""
            what does plimsoll_session_free do?
            when do i call plimsoll_session_free?
            which function closes a session?
            which call ends a conversation?
            what closes a session?
            how are sessions closed?
            i am done with my session, what now?
            how is a session ended?
            what do i call when the conversation is over?
        """,
    ),
    _topic(
        "runtime_new",
        "Call plimsoll_runtime_new with a config to create the runtime.",
        "The runtime owns the models, the engines and the guard.",
        what="plimsoll_runtime_new|the function plimsoll_runtime_new|runtime_new|the runtime|a runtime|a plimsoll_runtime",
        to="create a runtime|create the runtime|make a runtime|start the runtime|get a runtime|set up plimsoll|start plimsoll|initialise the library|begin with plimsoll|initialize plimsoll",
        ask="""
            what does plimsoll_runtime_new do?
            which function do i call first?
            what is the first call?
            which call creates the runtime?
            where do i start with the api?
            how is the runtime created?
            what must a program call first?
            how does a program begin?
            which function makes a runtime?
            what owns the models and engines?
        """,
    ),
    _topic(
        "model_load",
        "Call plimsoll_model_load with a name and a path to load a model.",
        "Progress is reported to a callback while the file is read.",
        what="plimsoll_model_load|the function plimsoll_model_load|model_load",
        to="load a model|load a gguf file|load weights|load my model|open a model|get a model into memory|read a model from disk|load a model from a folder|load the weights of a model",
        ask="""
            what does plimsoll_model_load do?
            which function loads a model?
            which call loads the weights?
            when do i call plimsoll_model_load?
            how is a model loaded?
            how are models loaded?
            how do weights get loaded?
            what loads a model?
            where do i pass the path of a model?
            how do i get a model?
        """,
    ),
    _topic(
        "admit",
        "Call plimsoll_admit to get a verdict and a ticket before you generate.",
        "Without a ticket plimsoll_generate admits by itself.",
        what="plimsoll_admit|the function plimsoll_admit|admission|admit",
        to="admit a request|get a ticket|get a verdict|ask for admission|reserve memory for a request|obtain a ticket|reserve bytes for a request",
        ask="""
            what does plimsoll_admit do?
            which function admits a request?
            when do i call plimsoll_admit?
            where do i get a ticket?
            where does a ticket come from?
            which call gives me a verdict?
            how are requests admitted?
            how does admission work?
            what does plimsoll_admit return?
            which function gives me a ticket?
            who hands out tickets?
        """,
    ),
    _topic(
        "what_if",
        "Pass NULL for the ticket to plimsoll_admit: that is a what-if and reserves nothing.",
        "A later real admission in the same state agrees with it.",
        what="a what-if|a what if|the what-if|a what-if question",
        to="ask a what-if|make a what-if|ask what would happen without running|try an admission without reserving|test whether a request would be accepted|get a verdict without a reservation",
        ask="""
            can i ask without reserving anything?
            what happens if the ticket is NULL?
            what if i pass NULL as the ticket?
            can i see the verdict without running the request?
            is there a dry run?
            how does a dry run work?
            does a what-if reserve bytes?
            can i ask for a verdict only?
            how do what-ifs work?
            would my request be accepted, without running it?
        """,
    ),
    _topic(
        "generate",
        "Call plimsoll_generate with a callback; it is called for every event.",
        "It returns when the answer has ended and fills a result.",
        what="plimsoll_generate|the function plimsoll_generate|generate|generation",
        to="generate text|generate an answer|run a request|run a prompt|get an answer from the model|produce tokens|ask the model something from my program|run inference",
        ask="""
            what does plimsoll_generate do?
            which function generates text?
            which call runs a request?
            when do i call plimsoll_generate?
            how is text generated?
            how is an answer produced?
            which function takes a callback?
            what runs a request?
            where do i pass my callback?
            how do i receive tokens in a callback?
        """,
    ),
    _topic(
        "stream",
        "Call plimsoll_stream_start, then plimsoll_stream_next to pull each event.",
        "plimsoll_stream_next takes a timeout.",
        what="plimsoll_stream_start|plimsoll_stream_next|a stream|streams|the pull interface|streaming",
        to="stream an answer|start a stream|pull tokens|stream tokens|read tokens one by one|get tokens without a callback|pull events|poll for tokens",
        ask="""
            what does plimsoll_stream_start do?
            what does plimsoll_stream_next do?
            which function starts a stream?
            how does streaming work?
            can i pull tokens instead of a callback?
            is there a way without callbacks?
            is there a pull interface?
            can answers be streamed?
            which call gives me the next token?
            how do i get the next event?
            does plimsoll support streaming?
        """,
    ),
    _topic(
        "cancel",
        "Use a plimsoll_cancel token: it stops a request from any thread within one step.",
        "Cancelling twice does no harm.",
        what="plimsoll_cancel|a cancel token|cancellation|the cancel token|cancelling",
        to="cancel a request|stop a request|abort a request|cancel generation|cancel from another thread|interrupt a running request|abort generation|stop a running request",
        ask="""
            what does plimsoll_cancel do?
            which function cancels a request?
            can i cancel from another thread?
            how are requests cancelled?
            how fast is a cancel?
            is it possible to abort?
            can a running request be stopped?
            how does cancellation work?
            when does a cancel take effect?
            how soon does a cancelled request stop?
        """,
    ),
]
