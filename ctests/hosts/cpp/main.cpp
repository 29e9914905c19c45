// A C++ program outside of plimsoll's tree: loads the model argv[1] and prints its answer.
#include <cstring>
#include <iostream>
#include <memory>
#include <plimsoll.h>
#include <string>

namespace {

template <typename T, void (*Free)(T *)>
struct Freed {
    void operator()(T *handle) const noexcept { Free(handle); }
};
template <typename T, void (*Free)(T *)>
using Handle = std::unique_ptr<T, Freed<T, Free>>;

int32_t append(const plimsoll_event *event, void *answer) {
    static_cast<std::string *>(answer)->append(event->text.ptr, event->text.len);
    return 0;
}

}  // namespace

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    plimsoll_runtime *runtime = nullptr;
    if (plimsoll_runtime_new(nullptr, &runtime, nullptr)) return 1;
    Handle<plimsoll_runtime, plimsoll_runtime_free> runtime_handle(runtime);
    plimsoll_model *model = nullptr;
    if (plimsoll_model_load(runtime, "m", 1, argv[1], std::strlen(argv[1]), nullptr, nullptr, nullptr, &model, nullptr)) return 1;
    Handle<plimsoll_model, plimsoll_model_unload> model_handle(model);
    plimsoll_session *session = nullptr;
    if (plimsoll_session_open(model, nullptr, &session, nullptr)) return 1;
    Handle<plimsoll_session, plimsoll_session_free> session_handle(session);
    plimsoll_request *request = nullptr;
    if (plimsoll_request_new(&request, nullptr)) return 1;
    Handle<plimsoll_request, plimsoll_request_free> request_handle(request);
    std::string answer;
    if (plimsoll_request_add_message(request, "user", 4, "Hello!", 6, nullptr)) return 1;
    if (plimsoll_generate(session, request, nullptr, nullptr, append, &answer, nullptr, nullptr)) return 1;
    std::cout << answer << '\n';
}
