//! Examples for every flag, in several languages.

use super::*;

const GOOD: &[&str] = &[
    "A brown dog runs along a beach at sunset while the camera follows it from the side.",
    "A man in a grey suit says sorry to a woman. She turns away and leaves the room.",
    "An old woman holds a video camera and films two children who paint the image of a horse.",
    "Close-up of hands typing on a laptop, warm light from the left, slow push-in.",
    "Two people dance, turn, and dance again; behind them two other people clap.",
    "Ein Hund läuft am Strand entlang, während die Sonne hinter den Dünen untergeht.",
    "Une femme verse du café dans une tasse blanche sur une table en bois.",
    "一只棕色的狗在日落时分沿着海滩奔跑，镜头从侧面跟随着它。",
];

#[test]
fn good_captions_have_no_flags() {
    let limits = Limits { language: None, ..Limits::default() };
    for text in GOOD {
        assert_eq!(flags(text, false, &limits), [""; 0], "{text}");
    }
}

#[test]
fn refusals_are_known_in_many_languages() {
    for text in [
        "I'm sorry, but I can't describe this clip.",
        "I\u{2019}m unable to view videos.",
        "\"I cannot help with that.\"",
        "A still. As an AI language model, I have no eyes.",
        "Es tut mir leid, das kann ich nicht beschreiben.",
        "Je suis désolé, mais je ne peux pas décrire cette vidéo.",
        "Lo siento, no puedo ayudar con eso.",
        "Извините, я не могу описать это видео.",
        "抱歉，我无法描述这段视频。",
        "申し訳ありませんが、説明できません。",
    ] {
        assert!(refusal(text), "{text}");
    }
    assert!(!refusal("A sign says: I'm sorry. A girl cannot reach it."));
}

#[test]
fn templates_are_known_in_many_languages() {
    for text in [
        "The video shows a dog.",
        "A dog runs. The clip then ends with a close-up.",
        "In this video, a dog runs.",
        "This is a video of a dog.",
        "**The image depicts** a dog.",
        "These frames show a dog.",
        "Here is a caption: a dog runs.",
        "Sure! A dog runs.",
        "Das Video zeigt einen Hund.",
        "La vidéo montre un chien.",
        "El video muestra un perro.",
        "Видео показывает собаку.",
        "视频展示了一只狗。",
        "这段视频里有一只狗。",
        "この動画では犬が走っています。",
    ] {
        assert!(template(text), "{text}");
    }
    for text in [
        "A dog watches a video.",
        "The video camera stands on a table.",
        "The picture frame falls off the wall.",
        "In the image of a horse, a child sees itself.",
    ] {
        // The last one is a sentence that begins like a template: it is flagged.
        assert_eq!(template(text), text.starts_with("In the image"), "{text}");
    }
}

#[test]
fn loops_are_repetition() {
    let looped = "A dog runs along the beach and ".to_owned() + &"the dog runs and ".repeat(20);
    assert!((repetition(&looped) - 1.0).abs() < 1e-9);
    assert!(repetition(&"very ".repeat(7)) > 0.9);
    assert!(repetition(&"一只狗在跑。".repeat(5)) > 0.9);
    let circling = "the dog sees the cat, the cat sees the dog, the dog sees the cat, the cat sees \
         the dog and the dog sees the cat again while the cat sees the dog";
    assert!(repetition(circling) > 0.3, "{}", repetition(circling));
    for text in GOOD {
        assert!(repetition(text) < 0.05, "{text}");
    }
    assert!(repetition("No, no, no, no!") < 0.05);
}

#[test]
fn a_missing_end_is_seen() {
    for text in [
        "A dog runs along the beach. Behind it the sun goes down and the",
        "A dog runs along the beach...",
        "A dog runs along the beach\u{2026}",
        "一只棕色的狗在日落时分沿着海滩奔跑。镜头从侧面",
    ] {
        assert!(truncated(text), "{text}");
    }
    assert!(truncated(&"word ".repeat(40)));
    for text in [
        "a dog running on the beach",
        "A dog runs along the beach.",
        "He says \"Stop!\"",
        "Aerial shot, 4.5 seconds, of a harbour",
        "",
    ] {
        assert!(!truncated(text), "{text}");
    }
    assert_eq!(flags("A dog runs along the beach.", true, &Limits::default()), [TRUNCATED]);
}

#[test]
fn lengths_count_words_or_characters() {
    assert_eq!(words("A dog's tail, 4.5 cm long."), 7);
    assert_eq!(words("一只狗在跑"), 3);
    assert_eq!(words(" ... "), 0);
    let any = Limits { language: None, ..Limits::default() };
    assert_eq!(flags("A dog.", false, &any), [TOO_SHORT]);
    let long: Vec<String> = (0..300).map(|index| format!("w{index}")).collect();
    assert_eq!(flags(&(long.join(" ") + "."), false, &any), [TOO_LONG]);
    assert_eq!(flags("", false, &any), [TOO_SHORT]);
}

#[test]
fn another_language_is_flagged_where_it_can_be_told() {
    let limits = Limits::default();
    assert_eq!(flags(GOOD[0], false, &limits), [""; 0]);
    assert_eq!(flags(GOOD[5], false, &limits), [LANGUAGE]);
    assert_eq!(flags(GOOD[7], false, &limits), [LANGUAGE]);
    assert_eq!((language(GOOD[5]), language(GOOD[7])), (Some("deu"), Some("cmn")));
    assert_eq!(language("Ja."), None);
}
