"""The strings that every tokenizer is tested on: bytes, generated from a seed.

Kinds: sentences of many languages, letters of many scripts, emoji sequences, combining marks, bytes that are not UTF-8, runs of
blanks and of one character, code, numbers, punctuation, names that look like special tokens, any assigned character.
"""

import random
import unicodedata

SENTENCES = """In the evening I read a book about old maps.
She doesn't know where they'll go, but we've got time; it's fine.
Am Abend lese ich ein Buch über alte Landkarten, größer als der Tisch.
Le soir, je lis un livre sur d'anciennes cartes ; c'est déjà l'été.
Por la noche leo un libro sobre mapas antiguos. ¿Vienes mañana?
À noite leio um livro sobre mapas antigos; a canção não é má.
La sera leggo un libro di carte antiche, perché no?
Wieczorem czytam książkę o starych mapach, źdźbło i żółw.
Večer čtu knihu o starých mapách, příliš žluťoučký kůň.
Este régi térképekről olvasok egy könyvet, őszintén szólva.
Seara citesc o carte despre hărți vechi și țări îndepărtate.
Akşamları eski haritalar üzerine bir kitap okurum, ışık yeter mi?
Buổi tối tôi đọc một cuốn sách về những tấm bản đồ cũ.
På kvällen läser jag en bok om gamla kartor i en å.
Um kvöldið les ég bók um gömul kort, það er þægilegt.
Illalla luen kirjaa vanhoista kartoista, yhä hitaammin.
Вечером я читаю книгу о старых картах, ещё одну.
Увечері я читаю книжку про старі мапи, її кольори ґрунтовні.
Вечерта чета книга за стари карти.
Το βράδυ διαβάζω ένα βιβλίο για παλιούς χάρτες.
Երեկոյան ես գիրք եմ կարդում հին քարտեզների մասին։
საღამოს ძველ რუკებზე წიგნს ვკითხულობ.
בערב אני קורא ספר על מפות ישנות, עם נִקּוּד.
في المساء أقرأ كتابًا عن الخرائط القديمة، ثلاث مرّات.
شب‌ها کتابی درباره نقشه‌های کهنه می‌خوانم.
شام کو میں پرانے نقشوں کی کتاب پڑھتا ہوں۔
शाम को मैं पुराने नक्शों की किताब पढ़ता हूँ।
সন্ধ্যায় আমি পুরোনো মানচিত্রের বই পড়ি।
மாலையில் பழைய வரைபடங்கள் பற்றிய நூலைப் படிக்கிறேன்.
సాయంత్రం నేను పాత పటాల పుస్తకం చదువుతాను.
ಸಂಜೆ ನಾನು ಹಳೆಯ ನಕ್ಷೆಗಳ ಪುಸ್ತಕ ಓದುತ್ತೇನೆ.
വൈകുന്നേരം ഞാൻ പഴയ ഭൂപടങ്ങളുടെ പുസ്തകം വായിക്കുന്നു.
ਸ਼ਾਮ ਨੂੰ ਮੈਂ ਪੁਰਾਣੇ ਨਕਸ਼ਿਆਂ ਦੀ ਕਿਤਾਬ ਪੜ੍ਹਦਾ ਹਾਂ।
સાંજે હું જૂના નકશાઓનું પુસ્તક વાંચું છું.
සවස මම පැරණි සිතියම් ගැන පොතක් කියවමි.
ตอนเย็นฉันอ่านหนังสือเกี่ยวกับแผนที่เก่า
ຕອນແລງຂ້ອຍອ່ານປຶ້ມກ່ຽວກັບແຜນທີ່ເກົ່າ
ညနေမှာ ကျွန်တော် မြေပုံဟောင်းစာအုပ် ဖတ်တယ်။
នៅពេលល្ងាច ខ្ញុំអានសៀវភៅអំពីផែនទីចាស់។
དགོང་མོར་ང་རང་ས་ཁྲ་རྙིང་པའི་དེབ་ཀློག་གི་ཡོད།
晚上我读一本关于旧地图的书，很有意思。
晚上我讀一本關於舊地圖的書，很有意思。
夜は古い地図の本を読みます。カタカナもｶﾅも。
저녁에는 오래된 지도에 관한 책을 읽는다.
ምሽት ላይ ስለ ድሮ ካርታዎች መጽሐፍ አነባለሁ።
Jioni ninasoma kitabu kuhusu ramani za zamani.
Орой би хуучин газрын зургийн ном уншдаг.
ᠣᠷᠣᠢ ᠪᠢ ᠨᠣᠮ ᠤᠩᠰᠢᠨ᠎ᠠ""".split("\n")

CODE = """int main(void) { return 0; }
for (size_t i = 0; i < n; i++) sum += x[i] * 0x1F;
    def f(self, *args, **kw):\n        return {k: v for k, v in kw.items()}
#include <stdio.h>\n\n\tprintf("%d\\n", a->b);
SELECT id, COUNT(*) FROM t WHERE a <> 'b' GROUP BY 1;
<div class="x">&nbsp;&amp;</div><!-- no -->
x = np.zeros((3, 4), dtype=np.float32)[..., None]
{"a": [1, 2.5e-3, true], "b": null}
git commit -m 'fix: don\\'t' && ./run.sh --n=16 | tee log.txt
https://example.org/a/b?c=d%20e&f=%C3%A9#g
fn main() -> Result<(), Box<dyn Error>> { Ok(()) }
\\frac{a_1}{b^{2}} \\leq \\sum_{i=0}^{\\infty} x_i
\r\n\tif (a == b)\r\n\t\t{\r\n\t\t}\r\n""".split("\n")

SCRIPTS = [(0x41, 0x7A), (0xC0, 0x24F), (0x370, 0x3FF), (0x400, 0x4FF), (0x531, 0x587), (0x5D0, 0x5EA), (0x620, 0x64A), (0x710, 0x72F),
           (0x904, 0x939), (0x985, 0x9B9), (0xA05, 0xA39), (0xA85, 0xAB9), (0xB05, 0xB39), (0xB85, 0xBB9), (0xC05, 0xC39), (0xC85, 0xCB9),
           (0xD05, 0xD39), (0xD85, 0xDC6), (0xE01, 0xE3A), (0xE81, 0xEB0), (0xF40, 0xF6C), (0x1000, 0x102A), (0x10A0, 0x10FF),
           (0x1100, 0x11FF), (0x1200, 0x1248), (0x13A0, 0x13F5), (0x1401, 0x166C), (0x1780, 0x17B3), (0x1820, 0x1878), (0x1E00, 0x1EFF),
           (0x1F00, 0x1FFF), (0x2C00, 0x2C5F), (0x3041, 0x3096), (0x30A1, 0x30FA), (0x4E00, 0x9FFF), (0xA000, 0xA48C), (0xAC00, 0xD7A3),
           (0xFF21, 0xFF5A), (0x10330, 0x1034A), (0x10400, 0x1044F), (0x12000, 0x12399), (0x13000, 0x1342E), (0x1D400, 0x1D7FF),
           (0x20000, 0x2A6DF)]

BLANKS = [" ", " ", " ", "\t", "\n", "\n", "\r\n", "\r", "\u00a0", "\u2003", "\u3000", "\u2028", "\u0085", "\u1680", "\u202f", "\v", "\f"]
INVISIBLE = ["\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\u180e", "\u00ad", "\x00", "\x01", "\x1b", "\x7f", "\x1c", "\x1f"]
EMOJI = ["😀", "👍🏽", "👩‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪", "🇺🇦🇫🇷", "1️⃣", "❤️", "🧑🏿‍🚀", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "☕", "✌︎", "👨‍⚕️", "🫠", "♾️", "🇦", "🏽"]
MARKS = [chr(c) for c in (0x300, 0x301, 0x302, 0x303, 0x308, 0x30A, 0x316, 0x323, 0x327, 0x328, 0x32D, 0x345, 0x34F, 0x5B0, 0x5BC, 0x64B,
                          0x651, 0x93C, 0x94D, 0xE49, 0x302A, 0x3099, 0x309A, 0x1D165, 0x20D0, 0x20E3, 0xFE0F)]
COMPAT = ["ﬁ", "ﬀ", "Ⅳ", "½", "²", "①", "㎏", "Ａ", "ｱ", "㍿", "™", "…", "ﷺ", "Å", "Ω", "가", "가", "ç", "ḉ", "ḉ", "ệ", "ệ", "ấ", "İ", "ı",
          "ß", "ẞ", "ſ", "K", "ǆ", "ŉ", "ά", "ᾳ", "ẛ̣", "ʼn"]
NUMBERS = ["0", "7", "42", "1234567", "3.14159", "1,000,000.00", "1e-9", "0x7fff", "٣٤٥", "१२३", "１２３", "Ⅷ", "²³", "¾", "10%", "€5", "12:30", "2024-02-29",
           "一二三", "𝟘𝟙", "৪৫", "−5", "1st", "v1.2.3", "೧೨", "㊿", "〇"]
PUNCT = list("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~") + ["...", "—", "“", "”", "‘", "’", "«", "»", "¿", "¡", "、", "。", "・", "٪", "।", "§", "¶",
                                                     "†", "‰", "→", "∑", "√", "░", "◌", "�"]
TAILS = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'T", "'RE", "'Ve", "'M", "'LL", "'D", "'ſ", "’s", "'x", "'"]
LOOKALIKE = ["<|im_end|>", "<|im_start|>", "<|endoftext|>", "<|begin_of_text|>", "<|eot_id|>", "<|im_end|", "|im_end|>", "< |im_end|>",
             "<|IM_END|>", "<s>", "</s>", "<unk>", "<pad>", "<mask>", "<s", "<<s>>", "<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>", "＜s＞",
             "<0x41>", "<0x0a>", "<tool_call>", "</tool_call>", "[INST]", "[/INST]", "▁", "▁the", "Ġ", "Ċ", "<|reserved_1|>", "<extra_id_0>"]
INVALID = [b"\x80", b"\xff", b"\xc0\xaf", b"\xc3", b"\xe4\xb8", b"\xf0\x9f\x98", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xfe", b"\xbf\xbf", b"\xe0\x80\x80",
           b"\xf8\x88\x80\x80\x80", b"\xc3(", b"\xe2\x82", b"\xf1\x80"]


def letters(r):
    low, high = r.choice(SCRIPTS)
    out = ""
    while len(out) < r.randint(1, 9):
        c = chr(r.randint(low, high))
        if unicodedata.category(c) not in ("Cn", "Cs", "Co"):
            out += c
    return out


def assigned(r):
    while True:
        c = chr(r.choice((r.randint(0, 0x2FFF), r.randint(0, 0xFFFF), r.randint(0x10000, 0x1FFFF), r.randint(0, 0x10FFFF))))
        if unicodedata.category(c) not in ("Cn", "Cs", "Co"):
            return c


def words(r):
    s = r.choice(SENTENCES).split(" ")
    a = r.randrange(len(s))
    return " ".join(s[a:a + r.randint(1, 6)])


def run(r):
    c = r.choice(["a", "ab", "=", "-", "é", "中", "😀", "0", "ha", ".", "A", "ё", "_", "\u0301"])
    return c * r.choice((2, 3, 7, 20, 64, 150))


def blanks(r):
    if r.random() < 0.5:
        return r.choice(BLANKS) * r.choice((1, 2, 3, 4, 8, 31, 90))
    return "".join(r.choice(BLANKS) for _ in range(r.randint(1, 12)))


def piece(r):
    k = r.randrange(20)
    if k < 4:
        return words(r)
    if k == 4:
        return letters(r)
    if k == 5:
        return r.choice(EMOJI) * r.choice((1, 1, 1, 2, 3))
    if k == 6:
        return letters(r) + "".join(r.choice(MARKS) for _ in range(r.randint(1, 5)))
    if k == 7:
        return unicodedata.normalize(r.choice(("NFD", "NFC", "NFKD", "NFKC")), words(r))
    if k == 8:
        return r.choice(COMPAT) + r.choice(("", r.choice(MARKS)))
    if k == 9:
        return run(r) if r.random() < 0.3 else r.choice(NUMBERS)
    if k in (10, 11):
        return blanks(r)
    if k == 12:
        return r.choice(CODE)
    if k in (13, 14):
        return r.choice(NUMBERS) + r.choice(("", r.choice(PUNCT), r.choice(NUMBERS)))
    if k == 15:
        return "".join(r.choice(PUNCT) for _ in range(r.randint(1, 6)))
    if k == 16:
        return words(r) + r.choice(TAILS)
    if k == 17:
        return r.choice(LOOKALIKE)
    if k == 18:
        return r.choice(INVISIBLE)
    return assigned(r)


def string(r):
    """Bytes, in one string of eight not all of them UTF-8."""
    parts = [piece(r).encode() for _ in range(r.choice((1, 1, 2, 3, 4, 6)))]
    if r.random() < 0.4:
        parts = [p for q in parts for p in (q, b" ")]
    out = b"".join(parts)
    if r.random() < 0.125:
        for _ in range(r.randint(1, 3)):
            at = r.randint(0, len(out))
            out = out[:at] + r.choice(INVALID) + out[at:]
    return out[:400]


def strings(seed, n):
    """n different strings; the first ones are the empty one and every entry of the lists above, alone."""
    r = random.Random(seed)
    first = [b""] + [s.encode() for s in SENTENCES + CODE + EMOJI + COMPAT + NUMBERS + LOOKALIKE + INVISIBLE + BLANKS] + INVALID
    out = dict.fromkeys(first)
    while len(out) < n:
        out[string(r)] = None
    return list(out)[:n]
