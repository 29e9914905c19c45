/* A C program outside of plimsoll's tree: loads the model argv[1] and prints its answer. */
#include <plimsoll.h>
#include <stdio.h>
#include <string.h>

static int32_t print(const plimsoll_event *event, void *user_data) {
    (void)user_data;
    return fwrite(event->text.ptr, 1, event->text.len, stdout) != event->text.len;
}

int main(int argc, char **argv) {
    plimsoll_runtime *runtime = NULL;
    plimsoll_model *model = NULL;
    plimsoll_session *session = NULL;
    plimsoll_request *request = NULL;
    plimsoll_error *error = NULL;
    if (argc != 2) {
        return 2;
    }
    plimsoll_status status = plimsoll_runtime_new(NULL, &runtime, &error);
    if (!status) status = plimsoll_model_load(runtime, "m", 1, argv[1], strlen(argv[1]), NULL, NULL, NULL, &model, &error);
    if (!status) status = plimsoll_session_open(model, NULL, &session, &error);
    if (!status) status = plimsoll_request_new(&request, &error);
    if (!status) status = plimsoll_request_add_message(request, "user", 4, "Hello!", 6, &error);
    if (!status) status = plimsoll_generate(session, request, NULL, NULL, print, NULL, NULL, &error);
    if (status) {
        plimsoll_str why = plimsoll_error_message(error);
        fprintf(stderr, "error %d: %.*s\n", (int)status, (int)why.len, why.ptr);
    }
    plimsoll_error_free(error);
    plimsoll_request_free(request);
    plimsoll_session_free(session);
    plimsoll_model_unload(model);
    plimsoll_runtime_free(runtime);
    return status != PLIMSOLL_OK;
}
