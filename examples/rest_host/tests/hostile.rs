//! Clients that are slow, greedy or talk nonsense: they get their answer, or none, and nobody else notices.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use super::{ACME, Served};
use crate::args::Options;
use crate::gate::Bounds;

const STATUS: &str = "/v1/async/status";

/// Sends bytes, then reads until the server has closed the connection.
fn exchange(served: &Served, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(served.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // The server may have answered and gone before all was sent.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn short() -> Bounds {
    Bounds {
        head: Duration::from_millis(200),
        body: Duration::from_millis(200),
        ..Bounds::default()
    }
}

#[test]
fn a_head_that_does_not_end_ends_the_connection() {
    let served = Served::with(Options::default(), short());
    for bytes in ["", "GET /v1/async/status HTTP/1.1\r\nhost: x\r\n"] {
        assert!(!exchange(&served, bytes.as_bytes()).contains("200 OK"));
    }
    assert_eq!(served.get(ACME, STATUS).status, 200);
}

#[test]
fn a_body_that_does_not_come_is_refused() {
    let served = Served::with(Options::default(), short());
    let head = format!(
        "POST /v1/async/task HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ACME}\r\ncontent-length: 100\r\n\r\n{{\"ta"
    );
    let answer = exchange(&served, head.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("\"REQUEST_TIMEOUT\""), "{answer}");
    // Under `/api` the same bound, in the reference's shape.
    let head = head.replace("/v1/async/task", "/api/deployments/");
    let answer = exchange(&served, head.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(
        answer.contains("{\"detail\":\"the body did not arrive"),
        "{answer}"
    );
}

#[test]
fn who_holds_many_connections_open_shuts_nobody_else_out() {
    let bounds = Bounds {
        from_one: 8,
        ..Bounds::default()
    };
    let served = Served::with(Options::default(), bounds);
    let greedy: Vec<TcpStream> = (0..40)
        .map(|_| TcpStream::connect(served.address).unwrap())
        .collect();
    // Those above the bound are closed at once.
    let closed = greedy.iter().filter(|stream| {
        let mut stream = *stream;
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        matches!(stream.read(&mut [0]), Ok(0))
    });
    assert!(closed.count() >= 32);
    // Another address of this machine is served as if nothing were.
    let answer = from_other_address(&served);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// Asks for the status from 127.0.0.2.
fn from_other_address(served: &Served) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    tokio.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let mut stream = socket.connect(served.address).await.unwrap();
        let request = format!(
            "GET {STATUS} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {ACME}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    })
}

#[test]
fn an_organisation_that_sends_too_much_at_once_is_told_to_wait() {
    let bounds = Bounds {
        bodies_bytes: 64,
        ..Bounds::default()
    };
    let served = Served::with(Options::default(), bounds);
    let task = json!({ "taskType": "hash", "payload": { "text": "x".repeat(100) } });
    served
        .post(ACME, "/v1/async/task", &task)
        .refused(429, "TOO_MANY_BODIES");
    assert_eq!(
        served
            .post(ACME, "/v1/async/task", &json!({ "taskType": "hash" }))
            .status,
        201
    );
}

/// Requests that are wrong each in its own way, the same every time.
struct Nonsense(u64);

impl Nonsense {
    fn draw(&mut self, below: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % below
    }

    fn bytes(&mut self, below: usize) -> Vec<u8> {
        let byte = |draw: usize| u8::try_from(draw).unwrap();
        (0..self.draw(below)).map(|_| byte(self.draw(256))).collect()
    }

    /// A body that no path takes.
    fn body(&mut self) -> Vec<u8> {
        let whole = r#"{"taskType":"sleep","priority":5,"payload":{"seconds":1}}"#;
        match self.draw(8) {
            0 => whole.as_bytes()[..self.draw(whole.len())].to_vec(),
            1 => "[".repeat(1 + self.draw(50_000)).into_bytes(),
            2 => format!("{}1{}", r#"{"payload":"#.repeat(300), "}".repeat(300)).into_bytes(),
            3 => self.bytes(2000),
            4 => format!(r#"{{"taskType":"sleep","priority":{}}}"#, self.draw(1 << 30) + 11).into_bytes(),
            5 => format!(
                r#"{{"taskType":"sleep","payload":{{"seconds":-{}e{}}}}}"#,
                self.draw(9) + 1,
                self.draw(400)
            )
            .into_bytes(),
            6 => br#"{"taskType":"sleep","idempotencyKey":""}"#.to_vec(),
            _ => format!(r#"{{"taskType":"sleep","unknown{}":[]}}"#, self.draw(1000)).into_bytes(),
        }
    }

    fn request(&mut self) -> Vec<u8> {
        let paths = [
            "/v1/async/task",
            "/v1/async/task/batch",
            "/page/runs",
            "/api/deployments/filter",
            "/api/flow_runs/paginate",
            "/api/flows/",
            "/api/deployments/",
            "/api/deployments/get_scheduled_flow_runs",
            "/api/flow_runs/",
            "/api/flow_runs/01a20108-8243-7000-9bd1-eaa500000000/set_state",
            "/api/work_pools/",
            "/api/work_queues/",
            "/api/v2/concurrency_limits/",
            "/api/v2/concurrency_limits/increment-with-lease",
        ];
        let path = paths[self.draw(paths.len())];
        // An empty batch entry list, an empty filter: what is right by accident stays out.
        let body = match path {
            "/page/runs" => format!(r#"{{"filter":"{} )"}}"#, "not ".repeat(self.draw(3000))).into_bytes(),
            // Under the name of a family: unknown keys above it are ignored by the reference, and so are right.
            "/api/deployments/filter" | "/api/flow_runs/paginate" => {
                [b"{\"deployments\":".to_vec(), self.body(), b"}".to_vec()].concat()
            }
            _ => self.body(),
        };
        let head = match self.draw(12) {
            0 => return self.noise(),
            1 => format!(
                "GET /%{:x}/{} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {ACME}\r\n\r\n",
                self.draw(300),
                self.draw(9)
            ),
            2 => format!(
                "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: -{}\r\n\r\n",
                self.draw(99)
            ),
            3 => format!(
                "GET /v1/async/task/{} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {ACME}\r\n\r\n",
                "7".repeat(self.draw(3000))
            ),
            4 => format!(
                "{} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {ACME}\r\n\r\n",
                "BREW"
            ),
            5 => format!(
                "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: {}\r\n\r\n",
                "B".repeat(self.draw(60_000))
            ),
            6 => format!(
                "{} /api/{}/{:x} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {ACME}\r\n\r\n",
                ["DELETE", "PATCH", "GET"][self.draw(3)],
                [
                    "flows",
                    "deployments",
                    "flow_runs",
                    "work_pools",
                    "work_queues",
                    "v2/concurrency_limits"
                ][self.draw(6)],
                self.draw(1 << 30)
            ),
            _ => format!(
                "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {ACME}\r\ncontent-length: {}\r\n\r\n",
                body.len()
            ),
        };
        let mut request = head.into_bytes();
        request.extend(body);
        request
    }

    fn noise(&mut self) -> Vec<u8> {
        let mut bytes = self.bytes(3000);
        // A head that could be ends, so that nobody waits for more.
        bytes.extend(b"\r\n\r\n");
        bytes
    }
}

/// Memory of this process that is resident, in bytes; none where the system does not tell.
fn resident() -> Option<usize> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(pages.split(' ').nth(1)?.parse::<usize>().ok()? * 4096)
}

#[test]
fn e2_malformed_requests_meet_no_5xx_change_nothing_and_take_no_memory() {
    let count = if std::env::var_os("TENFOLD_DEEP").is_some() {
        10_000
    } else {
        600
    };
    let bounds = Bounds {
        head: Duration::from_millis(300),
        strangers: 1_000_000,
        ..Bounds::default()
    };
    let options = Options {
        rate: 1_000_000,
        ..Options::default()
    };
    let served = Served::with(options, bounds);
    let before = served.host.first().engine.snapshot();
    let mut nonsense = Nonsense(7);
    let mut statuses = std::collections::BTreeMap::new();
    let mut warm = None;
    for number in 0..count {
        let request = nonsense.request();
        let answer = exchange(&served, &request);
        let status = answer.get(9..12).unwrap_or("none").to_owned();
        assert!(
            !status.starts_with('5') && !status.starts_with('2'),
            "{answer}\nto {}",
            String::from_utf8_lossy(&request)
        );
        *statuses.entry(status).or_insert(0) += 1;
        if number == count / 4 {
            warm = resident();
        }
    }
    println!("{count} malformed requests: {statuses:?}");
    for status in ["401", "404", "405", "422"] {
        assert!(
            statuses.contains_key(status),
            "none was answered {status}: {statuses:?}"
        );
    }
    let after = served.host.first().engine.snapshot();
    assert_eq!(
        (after.version, after),
        (before.version, before),
        "something was changed"
    );
    if let (Some(warm), Some(now)) = (warm, resident()) {
        let grown = now.saturating_sub(warm);
        println!("resident memory: {warm} bytes after a quarter, {now} at the end");
        assert!(
            grown < 16 << 20,
            "{grown} bytes more after three quarters of the requests"
        );
    }
}
