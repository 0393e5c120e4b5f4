"""What a reload changes at once, in a supervisor and under workers that go on: credentials, the certificate, logs; and
files that are watched."""

import os
import ssl
import subprocess
from base64 import b64encode
from http.client import HTTPSConnection
from pathlib import Path

from chaperone_async.service.http.passwords import ScryptHash
from tests.e2e.reloading import edit, kinds, one, pool, post, reload, replaced, settled, start, worker
from tests.e2e.service import Launch, Script, Service, command

STATUS = "/api/v1/status"
WRITER = """
    import os, signal, sys
    block = "x" * 99
    def write(*_):
        for _ in range(100):
            print(block)
        sys.stdout.flush()
    signal.signal(signal.SIGUSR1, write)
    print("ready", flush=True)
    while True:
        signal.pause()
"""


def shown(service: Service, authorization: str | None) -> int:
    if authorization is None:
        return service.get(STATUS, tcp=True).status
    return service.get(STATUS, tcp=True, Authorization=authorization).status


def basic(name: str, password: str) -> str:
    return "Basic " + b64encode(f"{name}:{password}".encode()).decode()


def test_new_credentials_count_for_the_next_request_and_no_hash_is_taken_that_cannot_be_read(
    launch: Launch, script: Script
) -> None:
    service = start(launch, one(script), head='http.token = "first"')
    before = settled(service, "emails", 1)
    seen = [shown(service, "Bearer first")]

    edit(service, 'http.token = "first"', 'http.token = "second"')
    reload(service)
    seen += [shown(service, "Bearer first"), shown(service, "Bearer second"), shown(service, None)]
    edit(service, 'http.token = "second"', f'http.users = {{ admin = "{ScryptHash.of("word")}" }}')
    reload(service)
    seen += [shown(service, "Bearer second"), shown(service, basic("admin", "word"))]
    edit(service, "ln=14", "ln=30")
    edit(service, "[pools.emails]", "[pools.emails]\nworkers = 2")
    refused = post(service, "/reload")
    seen += [shown(service, basic("admin", "word")), shown(service, None)]
    lines = service.config.read_text().splitlines()
    service.config.write_text("\n".join(line for line in lines if not line.startswith("http.users")))
    reload(service)
    seen += [shown(service, None)]

    assert seen == [200, 401, 200, 401, 401, 200, 200, 401, 200]
    assert refused.status == 422
    assert "cannot use the password hash of http.users.admin" in refused.json["detail"]
    assert "ln=30" not in refused.body
    assert settled(service, "emails", 2)[:1] == before


def certify(directory: Path, name: str, kind: str) -> None:
    made = ["openssl", "req", "-x509", "-newkey", *kind.split(), "-nodes", "-subj", f"/CN={name}"]
    files = ["-keyout", str(directory / "key.pem"), "-out", str(directory / "cert.pem")]
    subprocess.run([*made, *files], check=True, capture_output=True)


def certificate(service: Service) -> bytes | None:
    """What a new connection is shown."""
    anybody = ssl.create_default_context()
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    connection = HTTPSConnection("127.0.0.1", service.port, timeout=10, context=anybody)
    try:
        connection.connect()
        assert isinstance(connection.sock, ssl.SSLSocket)
        return connection.sock.getpeercert(binary_form=True)
    finally:
        connection.close()


def der(path: Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert(path.read_text())


def test_a_renewed_certificate_is_shown_to_new_connections_and_a_broken_one_refused(
    launch: Launch, script: Script, tmp_path: Path
) -> None:
    files = f'http.tls = {{ cert = "{tmp_path / "cert.pem"}", key = "{tmp_path / "key.pem"}" }}'
    certify(tmp_path, "first", "ec -pkeyopt ec_paramgen_curve:prime256v1")
    service = start(launch, one(script), head=files)
    first = der(tmp_path / "cert.pem")
    seen = [certificate(service) == first]

    certify(tmp_path, "second", "rsa:2048")
    done = reload(service)
    second = der(tmp_path / "cert.pem")
    seen.append(certificate(service) == second)
    (tmp_path / "same.toml").write_text(f'{files}\nhttp.listen = "127.0.0.1:{service.port}"\n[pools.a]\ncommand = "sh"')
    examined = service.cli("doctor", "-c", str(tmp_path / "same.toml"))
    (tmp_path / "cert.pem").write_text("no certificate")
    refused = service.cli("reload")
    seen.append(certificate(service) == second)

    assert [row["key"] for row in done["plan"]["settings"]] == ["http.tls (its contents)"]
    assert seen == [True, True, True]
    assert "the supervisor 'e2e'" in examined.out, examined.out
    assert refused.code == 2
    assert "both must be PEM files that belong together" in refused.err


def test_the_limits_of_log_files_and_what_is_kept_change_under_workers_that_go_on(
    launch: Launch, script: Script, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    logs = {"logs__mode": "file", "logs__path": str(log), "logs__max_size": "1MB"}
    service = start(launch, pool("emails", command(script("writer", WRITER)), **logs))
    (pid,) = settled(service, "emails", 1)

    def size(place: Path) -> int:
        try:
            return place.stat().st_size
        except FileNotFoundError:  # rotated just now
            return 0

    def write(much: int) -> None:
        os.kill(pid, 10)
        service.until(lambda: sum(map(size, tmp_path.glob("log*"))) >= much)

    service.until(lambda: log.exists() and "ready" in log.read_text())
    write(10_000)
    edit(service, '"1MB"', '"5KB"\nlogs.backups = 2\nlogs.keep = 3')
    reload(service)
    write(15_000)
    service.until((tmp_path / "log.1").exists)

    assert service.pids("emails") == [pid]
    assert service.get("/api/v1/pools/emails/workers/0/logs?lines=100").body.count("\n") == 3


def test_files_that_are_watched_are_applied_by_themselves(launch: Launch, script: Script) -> None:
    """One supervisor for all that can happen to files: each waits for a look at them."""
    head = 'watch = false\ninclude = ["conf.d/*.toml"]'
    service = start(launch, pool("emails", worker(script), workers=1), head=head)
    settled(service, "emails", 1)

    def applied(workers: int, name: str = "emails") -> None:
        service.until(lambda: service.pool(name).get("worker_count") == workers)

    edit(service, "watch = false", "watch = true")
    reload(service)
    edit(service, "workers = 1", "workers = 2")
    applied(2)
    replaced(service.config, service.config.read_text().replace("workers = 2", "workers = 3"))
    applied(3)
    (service.directory / "conf.d").mkdir()
    (service.directory / "conf.d" / "more.toml").write_text(pool("more", worker(script), env_file=str(env(service, 1))))
    applied(1, "more")
    (old,) = settled(service, "more", 1)
    env(service, 2)
    service.until(lambda: "pool.reloaded" in kinds(service, "more"))
    good = service.config.read_text()
    replaced(service.config, good + "\n[broken")
    service.until(lambda: service.lines("reload failed: nothing was changed"))
    replaced(service.config, good.replace("workers = 3", "workers = 4"))
    applied(4)
    edit(service, "watch = true", "watch = false")
    service.until(lambda: service.lines("asked by a change of its files: watch"))

    assert old not in settled(service, "more", 1)
    assert len(service.lines("reload failed")) == 1
    assert [event for event in kinds(service, "more") if event == "pool.changed"] == ["pool.changed"]


def env(service: Service, value: int) -> Path:
    path = service.directory / "env"
    replaced(path, f"A={value}\n")
    return path


def test_each_swap_of_a_mounted_configmap_is_applied(launch: Launch, script: Script) -> None:
    service = launch(pool("emails", worker(script), workers=1), head="watch = true", probe=None)
    service.stop()
    mount = service.directory / "mount"
    mount.mkdir()
    text = service.config.read_text()
    publish(mount, "..2026_0", text)
    service.config = mount / "chaperone.toml"
    service.config.symlink_to("..data/chaperone.toml")
    service.run(service.words, subprocess.DEVNULL).until_up()

    for swap in range(4):
        workers = 2 - swap % 2
        publish(mount, f"..2026_{1 - swap % 2}", text.replace("workers = 1", f"workers = {workers}"))
        service.until(lambda workers=workers: service.pool("emails")["worker_count"] == workers)  # type: ignore[misc]  # a value of the loop


def publish(mount: Path, version: str, text: str) -> None:
    """As a kubelet does it; with every time and size the same."""
    (mount / version).mkdir(exist_ok=True)
    content = mount / version / "chaperone.toml"
    content.write_text(text)
    os.utime(content, (0, 0))
    (mount / "..data_tmp").symlink_to(version)
    (mount / "..data_tmp").rename(mount / "..data")
