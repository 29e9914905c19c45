// Several answers of one request.
#include "check.hpp"

#include <limits>

namespace pl = plimsoll;

namespace {

constexpr std::uint32_t answers = 3;

const pl::runtime &runtime() {
    static const pl::runtime one;
    return one;
}

const pl::model &model() {
    static const pl::model one = check::load(runtime());
    return one;
}

pl::request several(std::uint32_t count) {
    pl::request request = check::request_of("hello", 16);
    request.set_answers(count).set_temperature(1.5F).set_seed(40);
    return request;
}

void called_back_and_pulled_alike() {
    const pl::session one = model().open_session(), other = model().open_session();
    std::vector<check::answer> read(answers);
    const auto numbers = one.generate_answers(several(answers), answers,
                                              [&read](const pl::event &event) { read.at(event.answer).add(event); });
    CHECK_EQ(numbers.size(), answers);
    pl::stream stream = other.start(several(answers));
    CHECK_ERROR(invalid_argument, (void)stream.answer(0));
    std::vector<check::answer> pulled(answers);
    for (const pl::event &event : stream) {
        pulled.at(event.answer).add(event);
    }
    for (std::uint32_t i = 0; i < answers; i++) {
        CHECK(read[i].tokens == pulled[i].tokens && read[i].tokens.size() == 16);
        CHECK(numbers[i].answer == i && numbers[i].answers == answers);
        const pl::result result = stream.answer(i);
        CHECK(result.answer == i && result.answers == answers && result.generated_tokens == 16);
        CHECK_EQ(stream.answer_text(i), pulled[i].text);
    }
    CHECK(read[0].tokens != read[1].tokens);
    CHECK_EQ(stream.result().answer, 0U);
    CHECK_ERROR(invalid_argument, (void)stream.answer(answers));
    CHECK_ERROR(invalid_argument, (void)stream.answer_text(answers));
}

void priced_together() {
    const pl::session session = model().open_session();
    const pl::verdict alone = session.what_if(several(1)), all = session.what_if(several(answers));
    CHECK(alone.answers == 1 && all.answers == answers && all.kv_region == -1);
    CHECK_EQ(all.bytes_asked, answers * alone.bytes_asked);
    const pl::request request = several(answers);
    const pl::admission admitted = session.admit(request);
    const pl::ticket &ticket = admitted.ticket;
    CHECK(admitted.verdict.is_granted());
    CHECK_EQ(session.generate_answers(request, ticket, 1).front().answers, answers);
    CHECK_ERROR(ticket_consumed, (void)session.generate_answers(request, ticket, 1));
    CHECK_ERROR(invalid_argument, (void)session.generate_answers(request, answers + 1));
    CHECK_ERROR(invalid_argument, (void)session.generate_answers(request, 129));
    CHECK_ERROR(invalid_argument, (void)session.generate_answers(request, std::numeric_limits<std::size_t>::max()));
    CHECK(session.generate_answers(request, 0).empty());
    pl::request none = several(1);
    CHECK_ERROR(invalid_argument, none.set_answers(0));
    CHECK_ERROR(invalid_argument, none.set_answers(129));
}

} // namespace

int main() {
    check::suite = "answers";
    RUN(called_back_and_pulled_alike);
    RUN(priced_together);
    return check::result();
}
