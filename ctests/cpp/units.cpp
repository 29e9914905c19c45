// A program of units that differ in standard and mode: each must have its own classes, and all must say the same.
#include <iostream>
#include <string>

std::string throwing17();
std::string throwing17_too();
std::string throwing20();
std::string expected17();
std::string expected20();

int main() {
    const std::string said = throwing17();
    std::cout << said << '\n';
    const bool same = said.find("model_not_found") != std::string::npos && throwing17_too() == said && throwing20() == said &&
                      expected17() == said && expected20() == said;
    return same ? 0 : 1;
}
