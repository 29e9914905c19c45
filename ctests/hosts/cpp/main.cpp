// A C++ program outside of plimsoll's tree: loads the model argv[1] and prints its answer.
#include <iostream>
#include <plimsoll.hpp>

int main(int argc, char **argv) try {
    if (argc != 2) return 2;
    const plimsoll::session session = plimsoll::runtime().load("m", argv[1]).open_session();
    plimsoll::request request;
    request.add_message("user", "Hello!");
    session.generate(request, [](const plimsoll::event &event) { std::cout << event.text; });
    std::cout << '\n';
} catch (const plimsoll::error &error) {
    std::cerr << error.what() << '\n';
    return 1;
}
