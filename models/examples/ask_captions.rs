//! Asks a real server for captions of folders of frames, twice: the second time all comes from the
//! cache. Then each caption goes through the second pass.
//!
//!     ask_captions URL MODEL PRESET CACHE FOLDER...
//!
//! A folder is a clip, and its name the clip's id; its files are the frames in the order of their
//! names. `benches/caption_server.sh` starts a server for it.
#![expect(clippy::print_stdout, reason = "a program to look at")]

use std::{error::Error, fs, path::Path, time::Duration};

use curate_models::caption::{
    Cache, Client, ClientConfig, Endpoint, Media, Preset, Request, Sampling, flags, preset::preset,
    rewrite::Rewrite,
};

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, model, name, cache, folders @ ..] = arguments.as_slice() else {
        return Err("arguments: URL MODEL PRESET CACHE FOLDER...".into());
    };
    let preset = preset(name).ok_or("there is no such preset")?;
    let requests: Result<Vec<_>, _> =
        folders.iter().map(|folder| request(&preset, Path::new(folder))).collect();
    let requests = requests?;
    let mut config = ClientConfig::new(model, Endpoint::open(url));
    config.style = preset.style.clone();
    config.retries.timeout = Duration::from_secs(300);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    for run in ["first run", "second run"] {
        let cache = Cache::open(Path::new(cache), 100 << 20)?;
        let client = Client::new(config.clone(), Some(cache))?;
        println!("== {run}");
        for (request, answer) in
            requests.iter().zip(runtime.block_on(client.ask_all(requests.clone())))
        {
            match answer {
                Ok(reply) => {
                    let flags =
                        flags::flags(&reply.text, reply.truncated, &flags::Limits::default());
                    println!(
                        "{}: {:?}\n    model {}, {} + {} tokens, from cache: {}, confirmed: {}, flags: {flags:?}",
                        reply.clip_id,
                        reply.text,
                        reply.model,
                        reply.usage.prompt,
                        reply.usage.completion,
                        reply.from_cache,
                        reply.confirmed,
                    );
                }
                Err(error) => println!("{}: no caption: {error}", request.clip_id),
            }
        }
        let stats = client.stats();
        println!(
            "{} questions, {} requests, {} from the cache, {} tokens",
            stats.asked, stats.requests, stats.from_cache, stats.spent.tokens
        );
    }
    let client = Client::new(config, Some(Cache::open(Path::new(cache), 100 << 20)?))?;
    let original = "The video shows a brown dog that runs along a beach, which is beautiful.";
    for (name, rewrite, text) in [
        ("second pass", Rewrite::captions(), original),
        ("prompt expansion", Rewrite::prompts(), "a brown dog on a beach"),
    ] {
        println!("== {name}");
        let rewritten = runtime.block_on(rewrite.run(&client, name, text))?;
        println!("{text:?}\n    -> {:?}", rewritten.text);
        match rewritten.problem {
            Some(problem) => println!("    kept after {} answers: {problem}", rewritten.attempts),
            None => println!("    after {} answers", rewritten.attempts),
        }
    }
    Ok(())
}

/// The question about a folder of frames.
fn request(preset: &Preset, folder: &Path) -> Result<Request, Failure> {
    let mut paths: Vec<_> = fs::read_dir(folder)?
        .map(|file| Ok(file?.path()))
        .collect::<Result<_, std::io::Error>>()?;
    paths.sort();
    let frames: Result<Vec<_>, _> =
        paths.iter().map(|path| fs::read(path).map(Into::into)).collect();
    let clip_id =
        folder.file_name().ok_or("a folder without a name")?.to_string_lossy().into_owned();
    Ok(Request {
        clip_id,
        part: String::new(),
        media: Media::Frames(frames?),
        prompt: preset.prompt.clone(),
        // A small model finds no end.
        sampling: Sampling { max_tokens: 120, ..preset.sampling },
        answer: preset.answer,
    })
}
