//! A server that answers as the Hub does, and a second one, another origin, that holds the large files.

use std::collections::{BTreeSet, HashMap};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Barrier, Mutex, MutexGuard};

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// The token that opens a gated model.
pub const TOKEN: &str = "hf_the_right_token";
/// Files from this size on lie on the second server.
const LARGE: usize = 1_000_000;

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub headers: HashMap<String, String>,
}

/// What the servers have, and how they misbehave.
#[derive(Default)]
pub struct State {
    /// By repository, then by name.
    pub repos: HashMap<String, HashMap<String, Vec<u8>>>,
    /// Needs [`TOKEN`].
    pub gated: Vec<String>,
    /// How many of the next large answers break off in the middle.
    pub drops: usize,
    /// Of each large answer only these bytes come, and then nothing until the client goes away.
    pub stalls_after: Option<usize>,
    /// Large answers wait for each other here.
    pub together: Option<Arc<Barrier>>,
    /// Answers 200 with everything, whatever range was asked for.
    pub ignores_ranges: bool,
    /// Promises this many bytes more than there are.
    pub lie: i64,
    /// How many of the next answers are 503.
    pub overloaded: usize,
    /// Does not say what it is that it does not have, as some mirrors.
    pub silent: bool,
    pub hub_log: Vec<Request>,
    pub storage_log: Vec<Request>,
}

pub struct HubServer {
    state: Arc<Mutex<State>>,
    pub endpoint: String,
}

impl HubServer {
    pub fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let storage = listen(Arc::clone(&state), |stream, request, state| {
            state.storage_log.push(request.clone());
            storage_answer(stream, request, state)
        });
        let hub = listen(Arc::clone(&state), move |stream, request, state| {
            state.hub_log.push(request.clone());
            hub_answer(stream, request, state, &storage)
        });
        Self { state, endpoint: hub }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test thread panicked")
    }

    /// The ranges that the second server was asked for.
    pub fn ranges(&self) -> BTreeSet<String> {
        self.state().storage_log.iter().filter_map(|request| request.headers.get("range").cloned()).collect()
    }

    pub fn add(&self, repo: &str, files: HashMap<String, Vec<u8>>) {
        self.state().repos.insert(repo.to_owned(), files);
    }
}

/// What is sent after the lock on the state is gone.
type Rest = Option<Box<dyn FnOnce(&mut TcpStream) + Send>>;
type Answer = Box<dyn Fn(&mut TcpStream, &Request, &mut State) -> Rest + Send + Sync>;

fn listen(
    state: Arc<Mutex<State>>,
    answer: impl Fn(&mut TcpStream, &Request, &mut State) -> Rest + Send + Sync + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let answer: Arc<Answer> = Arc::new(Box::new(answer));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (state, answer) = (Arc::clone(&state), Arc::clone(&answer));
            std::thread::spawn(move || serve(stream, &state, &answer));
        }
    });
    address
}

/// One request a connection.
fn serve(mut stream: TcpStream, state: &Mutex<State>, answer: &Answer) {
    let mut lines =
        BufReader::new(stream.try_clone().expect("a second handle")).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    let mut words = first.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let headers = lines.take_while(|line| !line.is_empty()).filter_map(|line| {
        line.split_once(':').map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
    });
    let request = Request { method: method.to_owned(), path: path.to_owned(), headers: headers.collect() };
    let rest = answer(&mut stream, &request, &mut state.lock().expect("no test thread panicked"));
    if let Some(rest) = rest {
        rest(&mut stream);
    }
}

fn head(stream: &mut TcpStream, status: &str, headers: &[(&str, String)]) {
    let mut text = format!("HTTP/1.1 {status}\r\nConnection: close\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    // A client that went away is no concern of the server's.
    let _ = write!(stream, "{text}\r\n");
}

fn refuse(stream: &mut TcpStream, status: &str, code: &str) -> Rest {
    let code = (!code.is_empty()).then(|| ("X-Error-Code", code.to_owned()));
    let headers: Vec<_> = code.into_iter().chain([("Content-Length", "0".to_owned())]).collect();
    head(stream, status, &headers);
    None
}

/// The name under which the cache keeps a file, too.
pub fn etag(body: &[u8]) -> String {
    // Stands in for a digest: different contents differ here.
    let sum = body.iter().fold(7u64, |sum, &byte| sum.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte));
    format!("{sum:016x}{:08x}", body.len())
}

fn hub_answer(stream: &mut TcpStream, request: &Request, state: &mut State, storage: &str) -> Rest {
    if state.overloaded > 0 {
        state.overloaded -= 1;
        head(stream, "503 Service Unavailable", &[("Content-Length", "0".to_owned())]);
        return None;
    }
    let parts: Vec<_> = request.path.trim_start_matches('/').splitn(5, '/').collect();
    let [owner, name, "resolve", revision, file] = parts[..] else {
        return refuse(stream, "400 Bad Request", "");
    };
    let repo = format!("{owner}/{name}");
    let token = request.headers.get("authorization").map(String::as_str);
    if state.gated.contains(&repo) && token != Some(&format!("Bearer {TOKEN}")) {
        let status = if token.is_none() { "401 Unauthorized" } else { "403 Forbidden" };
        return refuse(stream, status, "GatedRepo");
    }
    let Some(files) = state.repos.get(&repo) else {
        let status = if token.is_none() { "401 Unauthorized" } else { "404 Not Found" };
        return refuse(stream, status, "RepoNotFound");
    };
    if ![COMMIT, "main", "refs%2Fpr%2F1"].contains(&revision) {
        return refuse(stream, "404 Not Found", "RevisionNotFound");
    }
    let Some(body) = files.get(file) else {
        let code = if state.silent { "" } else { "EntryNotFound" };
        return refuse(stream, "404 Not Found", code);
    };
    let commit = ("X-Repo-Commit", COMMIT.to_owned());
    if body.len() >= LARGE {
        let size = (body.len() as u64).saturating_add_signed(state.lie).to_string();
        let to = format!("{storage}/signed/{repo}/{file}?Signature=abc%2Fdef&Expires=1");
        let headers = [
            commit,
            ("X-Linked-ETag", format!("\"{}\"", etag(body))),
            ("X-Linked-Size", size),
            ("Location", to),
            ("Content-Length", "0".to_owned()),
        ];
        head(stream, "302 Found", &headers);
        return None;
    }
    let headers =
        [commit, ("ETag", format!("W/\"{}\"", etag(body))), ("Content-Length", body.len().to_string())];
    head(stream, "200 OK", &headers);
    if request.method == "GET" {
        let _ = stream.write_all(body);
    }
    None
}

fn storage_answer(stream: &mut TcpStream, request: &Request, state: &mut State) -> Rest {
    let signed = request
        .path
        .strip_prefix("/signed/")
        .and_then(|path| path.strip_suffix("?Signature=abc%2Fdef&Expires=1"));
    let body = signed.and_then(|path| {
        let (repo, file) = path.rsplit_once('/')?;
        state.repos.get(repo)?.get(file)
    });
    let Some(body) = body else { return refuse(stream, "403 Forbidden", "") };
    let range = request.headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let number = |text: &str| text.parse::<usize>().ok();
    let range = range
        .filter(|_| !state.ignores_ranges)
        .and_then(|(first, last)| Some((number(first)?, number(last).map_or(body.len(), |last| last + 1))));
    let (from, mut end) = range.unwrap_or((0, body.len()));
    let length = ("Content-Length", (end - from).to_string());
    match range {
        Some(_) => {
            let range = format!("bytes {from}-{}/{}", end - 1, body.len());
            head(stream, "206 Partial Content", &[length, ("Content-Range", range)]);
        }
        None => head(stream, "200 OK", &[length]),
    }
    if state.drops > 0 {
        state.drops -= 1;
        end = from + (end - from) / 2;
    }
    let stalls = state.stalls_after.map(|bytes| end = end.min(from + bytes)).is_some();
    let (part, together) = (body[from..end].to_vec(), state.together.clone());
    Some(Box::new(move |stream| {
        if let Some(barrier) = together {
            barrier.wait();
        }
        if stream.write_all(&part).is_ok() && stalls {
            // The client sends nothing more: this ends when it goes away.
            let _ = stream.read(&mut [0]);
        }
    }))
}
