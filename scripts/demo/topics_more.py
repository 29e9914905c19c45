"""The second half of what the demo model knows about plimsoll; see topics.py for the fields."""

from topics import _topic

TOPICS_MORE = [
    _topic(
        "memory_stats",
        "Call plimsoll_memory_stats for a struct, or plimsoll_memory_stats_json for JSON.",
        "They show the sessions, the bytes in use and the bytes that are free.",
        what="plimsoll_memory_stats|plimsoll_memory_stats_json|memory statistics|the memory statistics",
        to="see memory statistics|read the memory numbers|get memory statistics|find out how much memory is used|see the bytes in use|get the statistics as json|show memory usage",
        ask="""
            what does plimsoll_memory_stats do?
            how much memory is in use?
            which function shows memory usage?
            where are the memory numbers?
            are there statistics?
            can i get statistics as json?
            how much memory does plimsoll use right now?
            which call reports memory?
            how many bytes are used?
            is memory usage reported?
        """,
    ),
    _topic(
        "can_allocate",
        "Call plimsoll_can_allocate to check whether some bytes would fit.",
        "It is a cheap check and reserves nothing.",
        what="plimsoll_can_allocate|can_allocate|the function plimsoll_can_allocate",
        to="check whether bytes fit|check if there is room|find out if an allocation would fit|test whether memory is free|check for free bytes|know if there is enough room",
        ask="""
            what does plimsoll_can_allocate do?
            when do i call plimsoll_can_allocate?
            which function checks for room?
            is there a cheap check for free memory?
            would 100 megabytes fit?
            is there room for more bytes?
            can i check before allocating?
            which call tells me if bytes would fit?
            is there enough space for my buffer?
        """,
    ),
    _topic(
        "low_memory",
        "Call plimsoll_is_low_memory: it says whether memory is running short.",
        "You choose the threshold yourself.",
        what="plimsoll_is_low_memory|is_low_memory|the function plimsoll_is_low_memory|low memory",
        to="notice low memory|detect low memory|see that memory runs short|know when memory is almost full|notice that memory is nearly used up",
        ask="""
            what does plimsoll_is_low_memory do?
            when is memory low?
            is memory running short?
            are we short of memory?
            which function warns about low memory?
            is there a warning when memory runs low?
            is memory almost full?
            which call detects a shortage?
        """,
    ),
    _topic(
        "kv_cache",
        "The KV cache keeps the keys and values of past tokens, so that they are not computed again.",
        "It grows with every token of a conversation.",
        what="the kv cache|a kv cache|kv|the kv|the key value cache|kv memory",
        ask="""
            what does the kv cache do?
            what is the kv cache for?
            what is stored in the kv cache?
            why is there a kv cache?
            what does kv stand for?
            why does a long conversation need more memory?
            what keeps keys and values?
            what is kept of past tokens?
            why is a second turn faster?
            what grows with every token?
        """,
    ),
    _topic(
        "blocks",
        "The KV cache is paged: it lives in blocks of a fixed number of tokens, each with its own lease.",
        "Sessions with the same prefix can share blocks.",
        what="a kv block|kv blocks|paged kv|paging|a block of the kv cache|a paged cache|blocks",
        ask="""
            how is the kv cache divided?
            how many tokens are in a block?
            why is the kv cache paged?
            what are blocks for?
            how is the kv cache laid out in memory?
            do blocks have leases?
            is the kv cache paged?
            in what pieces is the kv cache allocated?
            what is a page of the kv cache?
        """,
    ),
    _topic(
        "eviction",
        "Eviction drops the KV cache of the least recently used session; its tokens stay.",
        "A session that is running is never evicted.",
        what="eviction|an eviction|an evicted session|evicting|session eviction",
        ask="""
            which session is evicted first?
            what happens on eviction?
            when is a session evicted?
            why was my session evicted?
            how does eviction work?
            what does eviction do?
            what happens to idle sessions?
            who is evicted when memory is short?
            which sessions lose their cache?
            what is dropped in an eviction?
            how do you choose what to evict?
        """,
    ),
    _topic(
        "after_eviction",
        "Nothing is lost: after an eviction the next turn computes the KV cache again.",
        "The next turn is only slower.",
        what="the turn after an eviction|recomputation",
        ask="""
            is my conversation lost after an eviction?
            do i lose my conversation?
            do i lose text when a session is evicted?
            what is lost by an eviction?
            can an evicted session go on?
            what happens after an eviction?
            can i continue an evicted session?
            does an evicted session forget?
            what does the next turn after an eviction do?
            is anything lost in an eviction?
            will an evicted conversation be forgotten?
            how does an evicted session come back?
        """,
    ),
    _topic(
        "budget",
        "The budget is the memory that plimsoll may use; in chat you set it with --memory.",
        "For example: --memory 512MiB.",
        what="the budget|a memory budget|the memory budget|the --memory flag|--memory|the memory limit",
        to="set the budget|set a memory limit|limit the memory|change the budget|give plimsoll less memory|cap the memory|restrict memory",
        ask="""
            what does --memory do?
            how much memory may plimsoll use?
            can i limit the memory?
            which flag sets the budget?
            which option limits memory?
            how is the budget set?
            is there a memory limit?
            where do i set the budget?
            how big is the budget?
        """,
    ),
    _topic(
        "no_budget",
        "Without a budget plimsoll takes the cgroup limit, or else what /proc/meminfo says.",
        "So it also respects the limit of a container.",
        what="the default budget|the default memory limit|the capacity without a budget",
        ask="""
            what if i set no budget?
            what happens without a budget?
            what is the default budget?
            how much memory is used by default?
            does it respect cgroup limits?
            does it work in a container?
            does it know the limit of a container?
            where does the default capacity come from?
            what does plimsoll read from cgroups?
            how is the capacity found when no budget is given?
            is a budget needed?
        """,
    ),
    _topic(
        "errors",
        "A failed call returns a status and fills an error with a code and a text.",
        "The code also says whether trying again can help.",
        what="an error|errors|a plimsoll_error|error handling|a status|a status code|an error code|plimsoll_error|the status",
        to="handle errors|see what went wrong|read an error|find out why a call failed",
        ask="""
            how are errors reported?
            what does a failed call return?
            what happens when a call fails?
            how do i know that a call failed?
            what do calls return?
            where is the error text?
            my call failed, what now?
            how does a function report failure?
            what is in an error?
            what goes into the plimsoll_error?
        """,
    ),
    _topic(
        "threads",
        "Runtime and models may be shared by many threads; a session serves one request at a time.",
        "Requests to one session run in the order of arrival.",
        what="thread safety|the rules for threads|concurrency|the threading model",
        to="use several threads|use plimsoll from many threads|share a model between threads|run requests in parallel",
        ask="""
            is plimsoll thread safe?
            is it thread safe?
            can i use several threads?
            can two threads use one session?
            may threads share a runtime?
            can many threads use a model?
            how many requests can a session serve at once?
            can a session run two requests at the same time?
            is a session concurrent?
            may i call it from different threads?
        """,
    ),
    _topic(
        "workspace",
        "The workspace is scratch memory for activations and logits, leased when the model loads.",
        "Its size follows from the shape of the model.",
        what="the workspace|a workspace|scratch memory|the scratch memory|workspace memory",
        ask="""
            what is the workspace for?
            where do activations live?
            where are the logits kept?
            when is the workspace leased?
            which memory holds activations?
            what is scratch memory used for?
            how big is the workspace?
            when is scratch memory reserved?
            what does the workspace hold?
        """,
    ),
    _topic(
        "guard",
        "The guard decides admission: it counts bytes and sessions and never reads text.",
        "It keeps the ledger and picks the sessions to evict.",
        what="the guard|the memory guard|guard|a memory guard",
        ask="""
            what does the guard do?
            who decides admission?
            who decides whether a request may run?
            what does the memory guard count?
            does the guard read my text?
            who counts the bytes?
            what is the guard for?
            which part admits requests?
            who decides about memory?
            which part of plimsoll refuses requests?
        """,
    ),
    _topic(
        "router",
        "The router ranks the engines that could serve a request; it never counts bytes.",
        "Every choice carries a reason.",
        what="the router|router|a router|the engine router",
        ask="""
            what does the router do?
            who chooses the engine?
            who ranks the engines?
            how is an engine chosen?
            which part picks an engine?
            does the router count bytes?
            what is the router for?
            who decides which engine serves a request?
            which engine is chosen?
        """,
    ),
    _topic(
        "engine",
        "An engine prices and executes requests; it never decides admission.",
        "The native engine runs models on the CPU.",
        what="an engine|engines|the engine|the native engine",
        ask="""
            what does an engine do?
            what is an engine for?
            who executes a request?
            does an engine decide admission?
            which part runs the model?
            who runs the model?
            what do engines do?
            which part executes requests?
            can an engine refuse a request?
        """,
    ),
    _topic(
        "scheduler",
        "The scheduler batches the next tokens of all running requests with chunks of new prompts.",
        "It runs on one thread per model.",
        what="the scheduler|scheduler|a scheduler|continuous batching|batching|the batch",
        ask="""
            what does the scheduler do?
            how are requests batched?
            who makes the batches?
            can requests share a batch?
            what is the scheduler for?
            how are several requests run together?
            does plimsoll batch requests?
            which part builds batches?
            how does batching work?
        """,
    ),
    _topic(
        "ledger",
        "The ledger records every lease; their sum is what the allocators hold.",
        "It can check its own integrity.",
        what="the ledger|ledger|a ledger|the memory ledger",
        ask="""
            what does the ledger do?
            where are leases recorded?
            what is written in the ledger?
            who records the leases?
            what is the ledger for?
            where is memory accounted?
            what keeps track of the leases?
            what is the sum of all leases?
            how is memory kept in the books?
        """,
    ),
    _topic(
        "free_handles",
        "Call the free function of each handle, in any order; NULL is accepted.",
        "Children keep their parents alive.",
        what="freeing handles|the order of freeing|a free function|freeing",
        to="free a handle|free handles|free the runtime|release everything|clean up|free what i created|destroy the runtime",
        ask="""
            in which order do i free handles?
            does the order of freeing matter?
            may i free NULL?
            can i pass NULL to a free function?
            how are handles freed?
            must i free a session before the runtime?
            what do i free first?
            which order is right when freeing?
            how do i give back a handle?
            is there an order for cleaning up?
        """,
    ),
    _topic(
        "header",
        "Include plimsoll.h; it declares all functions of the C ABI.",
        "It is found in the include folder.",
        what="the header|plimsoll.h|the header file|the c header",
        to="include plimsoll|include the header|see the declarations of the functions",
        ask="""
            which header do i include?
            where is the header?
            what do i include in c?
            which file declares the functions?
            what must i include?
            where are the functions declared?
            what is the name of the header?
            which include do i need?
            is there a header file?
        """,
    ),
    _topic(
        "written_in",
        "plimsoll is written in Rust, behind a C ABI.",
        "No panic crosses the C boundary.",
        what="the language plimsoll is written in|the implementation language|the source language",
        ask="""
            in which language is plimsoll written?
            what is plimsoll written in?
            is plimsoll written in rust?
            is plimsoll written in c?
            what language is the source code?
            which language was used to write plimsoll?
            what language is the library implemented in?
            is the source code rust?
            in what was the code written?
            is it implemented in python?
        """,
    ),
    _topic(
        "temperature",
        "Temperature sets how random the choice of tokens is; zero is greedy.",
        "The chat program takes it as --temperature.",
        what="temperature|the temperature|--temperature|the --temperature flag|sampling temperature|greedy sampling",
        to="set the temperature|get greedy answers|make answers less random|make answers more random|change the randomness",
        ask="""
            what does temperature do?
            what is the temperature for?
            what does temperature zero mean?
            how random are the answers?
            which flag makes sampling greedy?
            which option controls randomness?
            why are the answers random?
            what does a higher temperature do?
            how is sampling controlled?
        """,
    ),
    _topic(
        "max_tokens",
        "max_tokens limits the length of an answer; in chat it is --max-tokens.",
        "The price of a request grows with it.",
        what="max_tokens|max tokens|--max-tokens|the --max-tokens flag|the token limit",
        to="limit the length of an answer|get shorter answers|make answers shorter|set max_tokens|set the maximum length|get longer answers",
        ask="""
            what does max_tokens do?
            which flag limits the length?
            how long can an answer be?
            what is the maximum length of an answer?
            can answers be shorter?
            which option sets the length?
            what limits the length of an answer?
            how many tokens can an answer have?
        """,
    ),
    _topic(
        "token",
        "A token is a piece of text: a word or a part of one.",
        "A model reads and writes tokens, not letters.",
        what="a token|tokens|tokenization|one token|a text token",
        ask="""
            what are tokens?
            how long is a token?
            what does a model read?
            is a token a word?
            is a word one token?
            how big is a token?
            what is the difference between a token and a word?
            what is text cut into?
        """,
    ),
    _topic(
        "commands",
        "The commands in chat are /stats, /reset and /quit.",
        "/stats shows the memory, /reset starts again and /quit leaves.",
        what="the chat commands|the commands|the slash commands|the commands in chat",
        ask="""
            which commands are there?
            what commands can i type?
            which commands does chat know?
            list the commands
            what can i type besides questions?
            are there any commands?
            what commands exist?
            show me the commands
            which slash commands are there?
        """,
    ),
    _topic(
        "quit",
        "Type /quit to leave the chat.",
        "Everything is freed on the way out.",
        what="/quit|the /quit command|the quit command",
        to="leave the chat|quit|exit the program|get out of here|quit the program|leave the program|exit|close this chat",
        ask="""
            what does /quit do?
            which command ends the program?
            how does one leave?
            let me out
            which command leaves the chat?
            where is the exit?
            i want out of this program
        """,
    ),
    _topic(
        "reset",
        "Type /reset to start the conversation again.",
        "The old turns are then forgotten.",
        what="/reset|the /reset command|the reset command",
        to="start over|reset the conversation|clear the history|forget everything and begin again|start from the beginning|restart our conversation|clear this conversation|wipe the history",
        ask="""
            what does /reset do?
            which command clears the history?
            which command resets the conversation?
            can we start over?
            can i clear this conversation?
            let us begin again
            can you forget what i said?
        """,
    ),
    _topic(
        "stop_answer",
        "Press Ctrl-C: it stops the answer, not the program.",
        "The conversation goes on after it.",
        what="ctrl-c|ctrl c|control c",
        to="stop an answer|interrupt an answer|stop you while you talk|cut an answer short in chat|make you stop talking|interrupt you",
        ask="""
            what does ctrl-c do?
            which key stops an answer?
            does ctrl-c end the program?
            you talk too long, how do i stop you?
            which keys interrupt an answer?
            what key do i press to stop you?
            can i interrupt you?
        """,
    ),
    _topic(
        "dim_line",
        "The dim line shows the decision, the tokens, the speed and the bytes of the last answer.",
        "It also says how many tokens were already held.",
        what="the dim line|the line after an answer|the grey line|the numbers after an answer|the line below an answer",
        ask="""
            what does the dim line show?
            what do the numbers below your answer mean?
            what is printed after each answer?
            what are these numbers?
            what does the grey line mean?
            what is that line of numbers?
            why is there a line after every answer?
        """,
    ),
    _topic(
        "build",
        "Run make build; the library lands in build/lib.",
        "You need cargo, gcc and make.",
        what="make build|the build|building plimsoll",
        to="build plimsoll|compile plimsoll|build the library|compile the library|install plimsoll|compile it|build it from source",
        ask="""
            what does make build do?
            where does the library land?
            which command builds the library?
            how is plimsoll built?
            what do i need to compile it?
            where is the shared library after a build?
            which make target builds it?
            where do i find the compiled library?
        """,
    ),
    _topic(
        "real_model",
        "Pass --model with the path of a real model, a folder or a .gguf file.",
        "I am only a small demo.",
        what="--model|the --model flag|the model flag",
        to="use a real model|use another model|use a bigger model|use a better model|switch to a different model|chat with a larger model|replace you with a real model|run my own model",
        ask="""
            what does --model do?
            can i use another model?
            which flag chooses the model?
            is there a better model than you?
            which option selects the model?
            can i chat with a bigger model?
            i would like a smarter model
            how do i get a smarter model than you?
        """,
    ),
    _topic(
        "callback",
        "Return zero from the callback to go on, anything else to stop.",
        "The result then says that it was stopped.",
        what="the callback|a callback|the event callback|the return value of the callback",
        to="stop from the callback|end generation from a callback|write a callback",
        ask="""
            what should a callback return?
            what does the callback return?
            what does a non-zero return from the callback do?
            what happens when my callback returns one?
            what must my callback return to go on?
            on which thread does the callback run?
            can the callback stop the answer?
            how does a callback say stop?
        """,
    ),
]
