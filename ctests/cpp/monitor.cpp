// The memory monitor: snapshots, alerts and cleanups, and callbacks that throw.
#include "check.hpp"

#include <atomic>
#include <memory>
#include <mutex>
#include <stdexcept>

namespace pl = plimsoll;

namespace {

bool holds(const pl::text &json, std::string_view part) { return json.view().find(part) != std::string_view::npos; }

void snapshots() {
    const pl::runtime runtime({{"memory.budget", "64MiB"}, {"monitor.interval_ms", "10"}});
    const pl::model model = check::load(runtime);
    // A snapshot from after the load: nothing changes any more.
    CHECK(check::in_a_moment([&] { return runtime.monitor().leasable_bytes == runtime.memory_stats().free_bytes; }));
    const pl::monitor_snapshot last = runtime.monitor(-1);
    CHECK_EQ(last.capacity_bytes, 64U << 20);
    CHECK_EQ(last.used_bytes, last.ours_bytes + last.others_bytes);
    CHECK_EQ(last.free_bytes, last.capacity_bytes - last.used_bytes);
    CHECK_EQ(last.leasable_bytes, runtime.memory_stats().free_bytes);
    CHECK(last.peak_bytes >= last.used_bytes && last.average_bytes <= last.peak_bytes && last.snapshots > 0);
    CHECK(last.level == pl::memory_level::low && to_string(last.level) == "low" && last.alerts == 0);
    CHECK(last.moderate_events + last.high_events + last.critical_events == 0 && last.age < std::chrono::minutes(1));
    CHECK(last.cpu >= 0 && last.cpu <= 1 && last.cpu_own >= 0 && last.cpu_own <= 1);
    CHECK(last.memory_total_bytes >= last.memory_available_bytes && last.resident_bytes > 0);
    CHECK(last.heap_bytes >= last.unbooked_bytes);
    CHECK(!last.cleanup_age && last.cleanup_runs == 0 && last.cleanup_freed_bytes == 0);
    CHECK_ERROR(invalid_argument, (void)runtime.monitor(0));
    CHECK(holds(runtime.monitor_history_json(), "\"snapshots\":[{"));
    CHECK(holds(runtime.monitor_alerts_json(), "\"active\":[]"));
    CHECK(holds(runtime.memory_stats_json(), "\"monitor\":{"));
    CHECK(holds(runtime.memory_report(), "\nalerts    none\n") && holds(runtime.memory_report(), "  weights of model 1 "));
    CHECK_EQ(to_string(pl::memory_level{99}), "unknown");
    CHECK_EQ(to_string(pl::alert_kind{99}), "unknown");
}

void an_alert_is_heard_until_another_listens() {
    const pl::runtime runtime({{"memory.budget", "64MiB"}, {"monitor.interval_ms", "10"}, {"monitor.alert_pressure", "0.001"}});
    auto owned = std::make_shared<int>(0);
    std::mutex mutex;
    std::string text;
    pl::alert heard;
    std::atomic<int> calls{0};
    runtime.on_alert([&, owned](const pl::alert &alert) {
        (void)runtime.monitor(); // no lock is held
        const std::lock_guard<std::mutex> lock(mutex);
        heard = alert, text = alert.text;
        calls++;
    });
    {
        const pl::model model = check::load(runtime);
        CHECK(check::in_a_moment([&] { return calls == 1; }));
        const std::lock_guard<std::mutex> lock(mutex);
        CHECK(heard.kind == pl::alert_kind::pressure && to_string(heard.kind) == "pressure" && heard.raised);
        CHECK(heard.value > heard.threshold && heard.threshold == 0.001 && heard.bytes > 0);
        CHECK(heard.region == -1 && heard.session == 0 && text.find("of host memory are used") != std::string::npos);
    }
    CHECK(check::in_a_moment([&] { return calls == 2; }));
    CHECK(owned.use_count() == 2);
    // What throws ends there.
    runtime.on_alert([](const pl::alert &) { throw std::runtime_error("planned"); });
    CHECK(check::in_a_moment([&] { return owned.use_count() == 1; }));
    {
        const pl::model model = check::load(runtime);
        CHECK(check::in_a_moment([] { return pl::alerts_lost() > 0; }));
    }
    runtime.on_alert(nullptr);
}

void cleanups() {
    auto owned = std::make_shared<int>(0);
    {
        const pl::runtime runtime({{"memory.budget", "64MiB"}, {"monitor.cleanup", "off"}});
        const pl::model model = check::load(runtime);
        const pl::session session = model.open_session();
        (void)check::run(session, check::request_of("hello", 8));
        const std::uint64_t kv = session.kv_bytes();
        std::uint64_t wanted = 0;
        const pl::cleanup_id id = runtime.on_cleanup("host", [&, owned](std::uint64_t bytes) {
            wanted = bytes;
            CHECK_ERROR(reentrant, (void)runtime.cleanup());
            return std::uint64_t{5};
        });
        (void)runtime.on_cleanup("thrower", [owned](std::uint64_t) -> std::uint64_t { throw 7; });
        // The rings that lie idle go as well.
        const std::uint64_t idle = runtime.pool_stats().engine_idle_bytes;
        CHECK_EQ(runtime.cleanup(), kv + idle);
        CHECK(kv > 0 && session.kv_bytes() == 0 && wanted == pl::cleanup_all);
        CHECK(holds(runtime.memory_stats_json(), "\"name\":\"thrower\",\"runs\":1,\"failed\":1"));
        CHECK(runtime.monitor().cleanup_age && runtime.monitor().cleanup_runs == 1);
        CHECK_EQ(owned.use_count(), 3);
        runtime.remove_cleanup(id);
        CHECK_EQ(owned.use_count(), 2);
        CHECK_ERROR(invalid_argument, runtime.remove_cleanup(id));
        CHECK_ERROR(null_pointer, (void)runtime.on_cleanup("none", nullptr));
        CHECK_ERROR(invalid_utf8, (void)runtime.on_cleanup("\xff", [owned](std::uint64_t) { return std::uint64_t{0}; }));
        CHECK_EQ(owned.use_count(), 2);
    }
    CHECK(check::in_a_moment([&] { return owned.use_count() == 1; }));
    pl::runtime empty({{"memory.budget", "64MiB"}});
    const pl::runtime taken = std::move(empty);
    CHECK_ERROR(null_pointer, (void)empty.cleanup());
    CHECK_ERROR(null_pointer, (void)empty.monitor());
    CHECK_ERROR(null_pointer, empty.on_alert([](const pl::alert &) {}));
}

} // namespace

int main() {
    check::suite = "cpp monitor";
    RUN(snapshots);
    RUN(an_alert_is_heard_until_another_listens);
    RUN(cleanups);
    return check::result();
}
