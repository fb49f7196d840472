//! The splittings that llama.cpp has, as tokenizer.json writes them.
//!
//! Sources: the regexes and flags in llama.cpp's `src/llama-vocab.cpp`, and the tokenizer.json files of the models that it names.

/// GPT-2's split, which a byte-level step does unless told otherwise.
pub(super) const GPT2: &str = "gpt2";
/// The same as a regex.
pub(super) const GPT2_REGEX: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// Every digit by itself.
pub(super) const DIGIT: &str = "digit";
/// Runs of digits.
pub(super) const DIGITS: &str = "digits";

/// A splitting that llama.cpp has.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) name: &'static str,
    /// Steps in order: [`GPT2`], [`DIGIT`], [`DIGITS`], `punctuation BEHAVIOUR`, or `split REGEX` (isolated).
    pub(super) steps: &'static [&'static str],
    /// Whether a word that is a token is taken without merging.
    pub(super) ignore_merges: bool,
    /// Whether decoded text is tidied (no space before a full stop).
    pub(super) clean: bool,
    /// Whether a token that begins texts is assumed where the file names none.
    pub(super) begins: bool,
}

const fn known(name: &'static str, steps: &'static [&'static str]) -> Known {
    Known { name, steps, ignore_merges: false, clean: false, begins: true }
}

impl Known {
    const fn clean(self) -> Known {
        Known { clean: true, ..self }
    }

    const fn ignores_merges(self) -> Known {
        Known { ignore_merges: true, ..self }
    }

    const fn begins_not(self) -> Known {
        Known { begins: false, ..self }
    }
}

const LLAMA3: &str = r"split (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"split (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN35: &str = r"split (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const UFAKZEKA: &str = r"split [^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT4O: &str = r"split [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"split [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const YOUTU: &str = r"split [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const JAIS2: &str = r"split (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}";
const BAILINGMOE: &str = r"split (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+";
const SEED_CODER: &str = r"split (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+";
const EXAONE_MOE: &str = r"split (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+";
const MINICPM5: &str = r"split (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const THREE_DIGITS: &str = r"split \p{N}{1,3}";
const LINES: &str = r"split [^\n]+|[\n]+";
const CJK_AND_KANA: &str = "split [一-龥぀-ゟ゠-ヿ]+";
const CJK: &str = "split [一-龥ࠀ-一가-퟿]+";
const DEEPSEEK_V3: &str = r##"split [!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;
const SPARK: &str = r##"split [!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+"##;
// Escaped are the letters that a normalizing editor would replace.
const LETTERS: &str = "split \\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-\u{1f7d}ᾀ-ᾴᾶ-ᾼ\u{1fbe}ῂ-ῄῆ-ῌῐ-\u{1fd3}ῖ-\u{1fdb}ῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\u{2126}ℨ\u{212a}-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+";
const MARKS: &str = "split \\s?[!-/:-~！-／：-～‘-‟　-。]+";
const BLOOM: &str = r"split  ?[^(\s|[.,!?…。，、।۔،])]+";
const POSITIONS: &str = r"split (?=(\d{3})+(?!\d))";
const THOUSANDS: &str = r"split \d{1,3}(?=(?:\d{3})*\b)";
const YOUTU_SCRIPTS: &str = "split [가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+";

/// All of them; of names that split alike and differ in nothing else, one. The commonest comes first.
pub(super) static KNOWN: &[Known] = &[
    // phi-2, mellum, modern-bert, mpt, olmo, jais and others.
    known("gpt-2", &[GPT2]).clean(),
    known("granite-docling", &[GPT2]),
    // pixtral, falcon3, lfm2 and others.
    known("llama-bpe", &[LLAMA3]).clean().ignores_merges(),
    // smaug-bpe.
    known("dbrx", &[LLAMA3]).clean(),
    known("chatglm-bpe", &[LLAMA3]).clean().begins_not(),
    known("glm4", &[LLAMA3]).clean().begins_not().ignores_merges(),
    // deepseek-r1-qwen, hunyuan, grok-2, solar-open and others.
    known("qwen2", &[QWEN2]),
    known("stablelm2", &[QWEN2]).clean(),
    known("qwen35", &[QWEN35]),
    known("ufakzeka", &[UFAKZEKA]),
    // command-r.
    known("smollm", &[DIGIT, GPT2]),
    // refact, codeshell, exaone, minerva-7b, mellum2.
    known("starcoder", &[DIGIT, GPT2]).clean(),
    known("falcon", &["punctuation contiguous", GPT2, DIGITS, "split [0-9][0-9][0-9]"]).clean(),
    known("deepseek-llm", &[r"split [\r\n]", LETTERS, MARKS, r"split \s+$", CJK, DIGITS]),
    // The model has no token of several digits, so that runs of digits and single ones are alike.
    known("deepseek-llm", &[r"split [\r\n]", LETTERS, MARKS, r"split \s+$", CJK, DIGIT]),
    known("deepseek-coder", &[r"split [\r\n]", r"split \s?\p{L}+", r"split \s?\p{P}+", CJK, DIGIT]),
    // hunyuan-dense, hy_v4, joyai-llm.
    known("deepseek-v3", &[THREE_DIGITS, CJK_AND_KANA, DEEPSEEK_V3]),
    known("spark2_5", &[THREE_DIGITS, CJK_AND_KANA, SPARK, DIGIT]),
    // llama4, minimax-m2, kanana2 and others.
    known("gpt-4o", &[GPT4O]),
    known("tiny_aya", &[THOUSANDS, GPT4O]),
    known("tekken", &[TEKKEN]).ignores_merges(),
    known("youtu", &[YOUTU_SCRIPTS, YOUTU]).ignores_merges(),
    // gpt3-finnish.
    known("bloom", &[BLOOM]).clean(),
    known("poro-chat", &[BLOOM]),
    known("viking", &[BLOOM, DIGIT]),
    known("superbpe", &[DIGITS, POSITIONS]),
    known("jais-2", &[JAIS2]).clean(),
    known("bailingmoe", &[BAILINGMOE]),
    known("seed-coder", &[SEED_CODER]),
    known("exaone-moe", &[EXAONE_MOE]).clean(),
    known("minicpm5", &[THREE_DIGITS, MINICPM5]).clean().ignores_merges(),
    known("laguna", &[LINES, QWEN2]),
];

/// Splittings that no checkpoint is converted to, and that files of other programs have.
pub(super) static RESTORED: &[Known] = &[
    // llama.cpp's for a file that names none.
    known("default", &[r"split [\p{P}$+<=>^~|]+", GPT2, DIGITS, "split [0-9][0-9][0-9]"]).clean(),
    known("granite-embed-multi-97m", &[GPT4O]).ignores_merges(),
];

/// Names that llama.cpp does the same for as for a name in [`KNOWN`], by that name.
pub(super) static ALIASES: &[(&str, &[&str])] = &[
    (
        "gpt-2",
        &[
            "phi-2",
            "jina-es",
            "jina-de",
            "gigachat",
            "jina-v2-es",
            "jina-v2-de",
            "a.x-4.0",
            "mellum",
            "modern-bert",
            "mpt",
            "olmo",
            "jais",
            "exaone4",
            "roberta-bpe",
            "jina-v1-en",
            "jina-v2-code",
        ],
    ),
    ("granite-docling", &["trillion"]),
    ("llama-bpe", &["llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano"]),
    ("dbrx", &["smaug-bpe"]),
    ("glm4", &["glm5"]),
    ("qwen2", &["deepseek-r1-qwen", "kormo", "f2llmv2", "hunyuan", "solar-open", "grok-2"]),
    ("stablelm2", &["megrez"]),
    ("smollm", &["command-r"]),
    ("starcoder", &["refact", "codeshell", "exaone", "minerva-7b", "mellum2"]),
    ("deepseek-v3", &["hunyuan-dense", "hy_v4", "joyai-llm"]),
    ("gpt-4o", &["llama4", "kanana2", "talkie", "minimax-m2"]),
    ("tiny_aya", &["cohere2moe"]),
    ("bloom", &["gpt3-finnish"]),
    ("bailingmoe", &["bailingmoe2", "llada-moe"]),
];

/// The splitting of classes of tokenizers that need no tokenizer.json, and of model types where no class is named.
pub(super) static CLASSES: &[(&str, &str)] = &[
    ("GPT2Tokenizer", "gpt-2"),
    ("CodeGenTokenizer", "gpt-2"),
    ("Qwen2Tokenizer", "qwen2"),
    ("RobertaTokenizer", "roberta-bpe"),
    ("LongformerTokenizer", "roberta-bpe"),
    ("gpt2", "gpt-2"),
    ("phi", "gpt-2"),
    ("qwen2", "qwen2"),
    ("qwen3", "qwen2"),
    ("roberta", "roberta-bpe"),
];

/// Every name that llama.cpp loads.
#[rustfmt::skip]
pub(super) static NAMES: &[&str] = &[
    "default", "a.x-4.0", "afmoe", "bailingmoe", "bailingmoe2", "bloom", "chameleon", "chatglm-bpe", "codeshell", "cohere2moe",
    "command-r", "dbrx", "deepseek-coder", "deepseek-llm", "deepseek-r1-qwen", "deepseek-v3", "exaone", "exaone-moe",
    "exaone4", "f2llmv2", "falcon", "falcon-h1", "falcon3", "gemma4", "gigachat", "glm4", "glm5", "gpt-2", "gpt-4o",
    "gpt3-finnish", "granite-docling", "granite-embed-multi-311m", "granite-embed-multi-97m", "grok-2", "hunyuan",
    "hunyuan-dense", "hy_v4", "jais", "jais-2", "jina-de", "jina-es", "jina-v1-en", "jina-v2-code", "jina-v2-de",
    "jina-v2-es", "jina-v5-nano", "joyai-llm", "kanana2", "kimi-k2", "kormo", "laguna", "lfm2", "llada-moe", "llama-bpe",
    "llama-v3", "llama3", "llama4", "megrez", "mellum", "mellum2", "midm-2.0", "minerva-7b", "minicpm5", "minimax-m2",
    "modern-bert", "mpt", "olmo", "phi-2", "pixtral", "poro-chat", "qwen2", "qwen35", "refact", "roberta-bpe", "sarvam-moe",
    "seed-coder", "smaug-bpe", "smollm", "solar-open", "spark2_5", "stablelm2", "starcoder", "superbpe", "talkie", "tekken",
    "tiny_aya", "trillion", "ufakzeka", "viking", "whitespace", "youtu",
];
