module plimsoll.example

go 1.19
