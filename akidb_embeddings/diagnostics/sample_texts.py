"""Sample texts of many kinds: queries, prose, languages, scripts, code, numbers, a single word, a few pages.

They were written for this library. ``quality`` and ``score_quality`` use all of them, the checks a few. Changing them
changes the figures that ``convert`` prints.
"""

QUERIES = (
    "how long do hard-boiled eggs keep in the fridge",
    "What is the difference between a list and a tuple in Python?",
    "cheap night train from Vienna to Rome",
    "symptoms of iron deficiency in adults",
    "Wie beantrage ich einen neuen Reisepass?",
    "quelles plantes supportent l'ombre d'un balcon au nord",
    "地震のときに最初にすることは何ですか",
    "error: cannot borrow `x` as mutable more than once at a time",
    "who signs the lease if two people share a flat?",
    "2 kg in pounds",
)

_PROSE = (
    "The ferry leaves the old harbour at six in the morning, and by noon the last fishermen have sold their catch.",
    "A dog bites a man.",
    "A man bites a dog.",
    "The bank raised its interest rate by a quarter of a point, as most analysts had expected.",
    "They had a picnic on the bank of the river, under the willows.",
    "This phone is a disappointment: the battery is empty by noon, and the screen cracked within a week.",
    "I cannot praise this phone enough; its battery lasts for two days, and the screen survived a fall onto stone.",
    "Photosynthesis turns light, water and carbon dioxide into sugar and oxygen; it takes place in the chloroplasts.",
    "The tenant shall give notice in writing no later than three months before the end of the term.",
    "Knead the dough for ten minutes, let it rest in a warm place until it has doubled, then bake it at 230 degrees.",
    "Yes.",
    "turbine",
    "!!! SALE !!! 50% off *everything* >>> only TODAY <<<",
)

_LANGUAGES = (
    "Der Zug nach Hamburg fällt heute wegen eines Sturmschadens aus; Fahrkarten gelten auch morgen noch.",
    "El ayuntamiento plantará doscientos árboles en las calles del centro antes de que termine el invierno.",
    "La bibliothèque reste ouverte jusqu'à minuit pendant la période des examens.",
    "O café da manhã é servido das sete às dez no terraço, com vista para o mar.",
    "Гроза прошла стороной, и к вечеру над полем поднялся густой туман.",
    "图书馆每天早上九点开门，周末也不休息，读者可以免费借阅五本书。",  # noqa: RUF001
    "雨が降り始めたので、子どもたちは急いで家に帰りました。",
    "기차가 늦게 도착해서 우리는 회의에 참석하지 못했습니다.",
    "تفتح المدرسة أبوابها في الساعة الثامنة صباحا كل يوم ما عدا الجمعة.",
    "किसान सुबह जल्दी खेत में जाता है और शाम को लौटता है।",
    "Το μουσείο είναι κλειστό τη Δευτέρα και ανοίγει ξανά την Τρίτη το πρωί.",  # noqa: RUF001
)

_CODE_AND_NUMBERS = (
    "def mean(values: list[float]) -> float:\n    if not values:\n        raise ValueError('no values')\n"
    "    return sum(values) / len(values)\n",
    "SELECT city, COUNT(*) AS orders FROM sales WHERE year = 2021 GROUP BY city HAVING COUNT(*) > 10 ORDER BY orders;",
    '{"id": 4711, "tags": ["red", "blue"], "price": 19.99, "stock": null, "shipped": false}',
    "Invoice 2023-0042: 12 x 3.50 = 42.00; VAT 19 % = 7.98; total 49.98; due 2023-11-30; IBAN ending in 0931.",
    "3.14159265 2.71828183 1.41421356 1.61803399 0.57721566",
)

_ESSAY = (
    "A map is an argument about what matters. Whoever draws one has to leave out nearly everything: the smell of "
    "the tar, the noise of the market, the names that only the children use for the corner where the wall has "
    "crumbled. What remains are a few lines and a few words, and from these a stranger is supposed to find the "
    "way. It is astonishing how often it works.\n\n"
    "The oldest maps that we have do not show roads. They show fields and their owners, or the courses of rivers, "
    "or the order in which stations on a pilgrimage follow each other. A Roman traveller carried a list of towns "
    "with the miles between them, and for him that was enough, since he would not leave the road. Sailors had "
    "other needs. A coast looks different from every side, and between two ports there is nothing to hold on to "
    "but the wind and the stars, so their charts were covered with lines of direction that met in little roses of "
    "sixteen or thirty-two points.\n\n"
    "Then came the surveyors, with chains and brass instruments. They climbed church towers and lit fires on "
    "hills, measured the angles of triangles that spanned whole provinces, and computed for years. In France four "
    "generations of one family worked on a single map. When it was done, the kingdom turned out to be smaller "
    "than its kings had believed; one of them is said to have complained that his astronomers had cost him more "
    "land than his enemies.\n\n"
    "Today the map is in the pocket and knows where we stand. It turns as we turn, and it speaks. It shows the "
    "café that paid for being shown, and hides the footpath that nobody has recorded. We no longer ask people for "
    "the way, and so we do not hear that the bridge is closed on Sundays, or that the better bread is to be had "
    "two streets further on. Something was gained and something was lost, as always when an argument is won too "
    "completely.\n\n"
    "Perhaps that is why some people still draw maps by hand. They walk a quarter with a notebook, mark the "
    "benches that are in the sun at four o'clock, the fountains with drinking water, the doors behind which a "
    "piano is practised. Such a map is out of date before the ink is dry, it is true to no scale, and nobody "
    "could build a railway by it. But it says what every map says if one reads it closely: this is what I saw, "
    "this is what I thought worth keeping, and here is how you may come to see it too. In that sense an old sheet "
    "with a sea monster in its corner is no less honest than the picture from a satellite. Both fill the gaps in "
    "what their makers knew with what their makers could not help believing."
)

_REPORT = (
    "Protokoll der Versammlung vom 14. März. Anwesend waren 37 von 52 Mitgliedern, die Versammlung war damit "
    "beschlussfähig. Zu Beginn berichtete der Vorstand über das vergangene Jahr: Das Dach des Vereinshauses wurde "
    "für 18.400 Euro erneuert, wovon die Stadt ein Drittel übernahm; die Werkstatt war an 211 Tagen geöffnet, an "
    "30 Tagen mehr als im Jahr davor. Repariert wurden 642 Geräte, am häufigsten Kaffeemaschinen, Lampen und "
    "Staubsauger, und in sieben von zehn Fällen mit Erfolg. Die Kassenprüfer fanden keine Mängel und baten um die "
    "Entlastung des Vorstands, die einstimmig erteilt wurde. Danach ging es um die Frage, ob der Verein künftig "
    "auch Fahrräder annehmen soll. Dafür spricht die große Nachfrage, dagegen der fehlende Platz im Keller und "
    "dass niemand sagen konnte, wer für Bremsen haftet. Der Antrag wurde mit 21 zu 13 Stimmen bei drei "
    "Enthaltungen vertagt."
)

_LOG = "\n".join(
    f"2024-02-{day:02d}T0{day % 10}:15:{day + 17}Z level=info host=web-{day % 3} path=/orders/{day * 7919} status=200 "
    f"ms={day * 37 % 113}"
    for day in range(1, 25)
)

DOCUMENTS = (
    *_PROSE,
    *_LANGUAGES,
    *_CODE_AND_NUMBERS,
    _ESSAY,
    _REPORT,
    _LOG,
    "\n\n".join((*_LANGUAGES, *_PROSE)),
)

# Documents for queries, the best one first, the last one about something else.
RANKINGS = (
    (
        QUERIES[0],
        (
            "Hard-boiled eggs keep for a week in the refrigerator, peeled ones for two days at most.",
            "Boil the eggs for ten minutes, then put them into cold water.",
            "A fridge should be set to four degrees or less.",
            _PROSE[3],
        ),
    ),
    (
        QUERIES[2],
        (
            "The sleeper leaves Vienna at seven in the evening and reaches Rome at nine; a seat costs 39 euros.",
            "Flights from Vienna to Rome take an hour and a half.",
            _LANGUAGES[0],
            "Rome was not built in a day.",
        ),
    ),
    (
        QUERIES[1],
        (
            "A tuple cannot be changed after it is made; a list can grow and shrink.",
            "A list is written in square brackets.",
            _CODE_AND_NUMBERS[0],
            "The python is a snake of Africa, Asia and Australia.",
        ),
    ),
    (
        QUERIES[4],
        (
            "Den Pass beantragt man persönlich beim Bürgeramt, mit einem Foto; nach drei Wochen liegt er bereit.",
            "An der Grenze wurden die Pässe aller Reisenden kontrolliert.",
            "Wer seinen Führerschein verliert, meldet das der Behörde.",
            _PROSE[9],
        ),
    ),
    (
        QUERIES[6],
        (
            "揺れを感じたら、まず机の下に入って頭を守り、おさまるまで待ちます。",
            "昨日の夜、北の町で小さな地震がありました。",
            "火事のときは、低い姿勢で外へ逃げてください。",
            _LANGUAGES[6],
        ),
    ),
    ("why do some people still draw maps by hand", (_ESSAY, "Maps are drawn from satellite pictures.", _REPORT, _LOG)),
)
