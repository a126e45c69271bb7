"""The items that customers send back, by category, and how they word an item's name.

Names within a category share nouns on purpose: a model of character n-grams that has learned from
"chicken curry" and "tofu scramble" should categorise "Pad Thai with tofu", which is not among them.
"""

from collections.abc import Sequence
from typing import Final

CATALOGUE: Final[dict[str, str]] = {
    "Food, Perishable": """
        chicken curry, red lentil curry, Thai green curry, vegetable curry with rice,
        beef curry bowl, Pad Thai noodles, Pad Thai with shrimp, Pad Thai with chicken,
        stir-fried rice noodles, Thai basil noodles,
        spicy noodles with tofu, tofu scramble, fried tofu bowl, tofu and vegetable stir-fry,
        grilled tofu with rice, chicken fried rice, shrimp fried rice, sushi platter,
        salmon sushi rolls, salmon poke bowl, tuna poke bowl, fresh salmon fillet,
        fresh cod fillet, chicken breast fillet, chicken thighs, roast chicken, ground beef,
        beef burger with fries, chicken burger with fries, beef tacos, chicken tacos, fish tacos,
        bean burrito, chicken burrito bowl, margherita pizza, pepperoni pizza, vegetable pizza,
        Caesar salad, Greek salad, chicken salad, potato salad, fresh fruit salad,
        fresh strawberries, fresh blueberries, fresh raspberries, ripe avocados, ripe bananas,
        fresh spinach, fresh basil, whole milk, oat milk yogurt, Greek yogurt, strawberry yogurt,
        cheddar cheese, goat cheese, fresh mozzarella cheese, free-range eggs,
        tomato soup with bread, chicken soup, lentil soup, vegetable lasagne, beef lasagne,
        chicken sandwich, falafel wrap, chicken wrap, sourdough bread, butter croissants
    """,
    "Food, Packaged": """
        canned tomatoes, canned tuna, canned chickpeas, canned sweetcorn, canned black beans,
        canned coconut milk, canned peaches, dried lentils, dried chickpeas, dried apricots,
        dried mushrooms, dried pasta, spaghetti pasta pack, penne pasta pack, instant ramen pack,
        instant oatmeal, instant coffee, ground coffee, coffee beans, coffee capsules,
        green tea bags, black tea bags, chamomile tea bags, peppermint tea bags,
        dark chocolate bar, milk chocolate bar, hazelnut chocolate bar, chocolate truffles box,
        chocolate chip cookies, oat cookies, butter cookies tin, ginger cookies, sesame crackers,
        rice crackers, potato chips, tortilla chips, sweet potato chips, salted peanuts,
        roasted almonds, roasted cashews, mixed nuts, trail mix nuts, peanut butter jar,
        almond butter jar, strawberry jam, apricot jam, raspberry jam, wildflower honey jar,
        maple syrup, olive oil bottle, sunflower oil bottle, sesame oil bottle, balsamic vinegar,
        apple cider vinegar, soy sauce bottle, hot chili sauce bottle, pasta sauce jar,
        pesto sauce jar, corn flakes cereal, granola cereal, muesli cereal, protein bars box,
        granola bars box, brown sugar, jasmine rice bag
    """,
    "Electronics": """
        USB-C cable, HDMI cable, Lightning cable, ethernet cable, DisplayPort cable, USB-C charger,
        wireless charger, laptop charger, car phone charger, USB-C hub, USB flash drive,
        external hard drive, portable solid state drive, memory card, memory card reader,
        wireless mouse, gaming mouse, wireless keyboard, mechanical keyboard, gaming keyboard,
        wireless headphones, noise cancelling headphones, gaming headset, bluetooth headset,
        wireless earbuds, bluetooth earbuds, bluetooth speaker, portable speaker, smart speaker,
        soundbar speaker, gaming laptop, business laptop, laptop docking station, laptop battery,
        tablet computer, desktop computer, gaming monitor, curved monitor, portable monitor,
        smartphone, refurbished smartphone, smartphone battery, phone power bank, solar power bank,
        smart television, television wall mount, streaming stick, mini projector, digital camera,
        action camera, security camera, webcam, camera lens, camera battery, camera tripod,
        wireless router, mesh wireless router, computer processor, gaming console,
        wireless game controller, smart plug, smart light bulb, smart doorbell camera,
        drone with camera, laser printer, inkjet printer
    """,
    "Clothing": """
        cotton t-shirt, striped t-shirt, long-sleeve t-shirt, graphic t-shirt, linen shirt,
        flannel shirt, denim shirt, white dress shirt, polo shirt, silk blouse, floral blouse,
        cotton blouse, slim fit jeans, high-waist jeans, straight leg jeans, black denim jeans,
        cargo pants, linen pants, chino pants, jogging pants, wool sweater, cashmere sweater,
        knitted sweater, turtleneck sweater, knitted cardigan, wool cardigan, zip hoodie,
        fleece hoodie, cotton hoodie, winter jacket, denim jacket, leather jacket, rain jacket,
        puffer jacket, bomber jacket, wool coat, trench coat, long winter coat, summer dress,
        floral dress, evening dress, knitted dress, wrap dress, pleated skirt, denim skirt,
        midi skirt, denim shorts, linen shorts, cotton shorts, swim shorts, one-piece swimsuit,
        cotton pajamas, flannel pajamas, cotton socks, wool socks, ankle socks, cotton leggings,
        thermal leggings, wool scarf, silk scarf, knitted hat, wool hat, baseball cap,
        knitted gloves, leather belt
    """,
    "Footwear": """
        running shoes, trail running shoes, basketball shoes, tennis shoes, walking shoes,
        canvas shoes, leather shoes, oxford shoes, derby shoes, boat shoes, dress shoes,
        school shoes, water shoes, platform shoes, white sneakers, canvas sneakers,
        leather sneakers, high-top sneakers, low-top sneakers, platform sneakers, slip-on sneakers,
        kids sneakers, suede sneakers, hiking boots, ankle boots, chelsea boots, winter boots,
        rain boots, snow boots, cowboy boots, leather boots, work boots, knee-high boots,
        suede boots, combat boots, leather sandals, hiking sandals, strappy sandals,
        platform sandals, beach sandals, kids sandals, cork sandals, flip-flops, rubber flip-flops,
        wool slippers, felt slippers, house slippers, sheepskin slippers, leather loafers,
        suede loafers, penny loafers, slip-on loafers, high heels, block heels, kitten heels,
        stiletto heels, ballet flats, leather flats, wooden clogs, rubber clogs, garden clogs,
        leather moccasins, suede moccasins, wedge espadrilles, canvas espadrilles
    """,
    "Home & Kitchen": """
        cast iron pan, frying pan, non-stick frying pan, grill pan, saucepan, sauce pot with lid,
        stock pot, baking tray, baking dish, muffin baking tin, mixing bowl set, ceramic bowl set,
        glass bowl set, dinner plate set, dessert plate set, ceramic mug set, coffee mug,
        glass tumbler set, wine glass set, chef knife, bread knife, kitchen knife set,
        knife sharpener, cutting board, bamboo cutting board, kitchen scale, kitchen towel set,
        kitchen shears, espresso machine, drip coffee maker, electric kettle, toaster oven,
        hand blender, stand blender, stand mixer, air fryer, slow cooker, rice cooker,
        food storage container set, glass storage jars, storage basket, vacuum cleaner,
        robot vacuum cleaner, steam iron, ironing board, laundry basket, bath towel set, bath mat,
        shower curtain, blackout curtain, linen curtain, bed sheet set, duvet cover, down duvet,
        feather pillow, memory foam pillow, pillow cover set, weighted blanket, table lamp,
        floor lamp, desk lamp, wall shelf, bookshelf, wooden dining chair, office chair,
        dining table
    """,
    "Beauty": """
        moisturizing face cream, anti-aging face cream, night face cream, hand cream, eye cream,
        foot cream, shaving cream, sunscreen cream, body lotion, sunscreen lotion, vitamin C serum,
        hyaluronic acid serum, retinol serum, hair serum, matte lipstick, red lipstick,
        liquid lipstick, tinted lip balm, lip balm, lip gloss, black eyeliner, liquid eyeliner,
        volume mascara, waterproof mascara, eyeshadow palette, nude eyeshadow palette,
        eyebrow pencil, eyebrow gel, liquid foundation, powder foundation, concealer, face powder,
        blush powder, bronzer powder, makeup brush set, makeup remover, makeup sponge,
        makeup primer, face cleanser, foaming face cleanser, face toner, rose water toner,
        clay face mask, sheet face mask, hair mask, hydrating hair mask, shampoo,
        anti-dandruff shampoo, volume shampoo, conditioner, leave-in conditioner, hair oil,
        argan hair oil, beard oil, body oil, hair dye, hair spray, styling hair gel, nail polish,
        gel nail polish, eau de parfum, eau de toilette, body wash, face scrub, body scrub
    """,
    "Toys": """
        building blocks, wooden building blocks, building brick set, castle building brick set,
        toy train set, wooden train set, toy train tracks, toy car, toy race car,
        remote control toy car, toy truck, toy fire truck, toy dump truck, toy garage, toy robot,
        toy dinosaur, dinosaur figure set, farm animal figure set, superhero action figure,
        dragon action figure, pirate action figure, fashion doll, baby doll, rag doll, doll house,
        doll stroller, doll clothes set, teddy bear, plush bunny, plush unicorn, plush dinosaur,
        plush elephant, plush penguin, hand puppet set, jigsaw puzzle, wooden jigsaw puzzle,
        kids floor puzzle, puzzle cube, alphabet puzzle, family board game, strategy board game,
        kids card game, memory card game for kids, chess game set, play dough set,
        play kitchen toy, play tent, play food set, kids doctor play set, toy tool set,
        toy cash register, toy piano, toy drum, toy xylophone, baby rattle,
        baby stacking rings toy, baby bath toys, rubber duck toy, water gun toy,
        foam dart blaster toy, bubble machine toy, kids science kit, slime kit,
        bead craft kit for kids
    """,
    "Books & Media": """
        mystery novel, crime novel, romance novel, historical novel, fantasy novel,
        science fiction novel, graphic novel, thriller paperback, romance paperback,
        crime paperback, fantasy paperback, hardcover biography, musician biography,
        politician biography, hardcover memoir, travel memoir, vegan cookbook, baking cookbook,
        Italian cookbook, barbecue cookbook, children's picture book, bedtime story book,
        coloring book, sticker book, pop-up book, poetry book, history book, philosophy book,
        self-help book, economics book, gardening book, photography book, art history book,
        comic book, manga box set, fantasy trilogy box set, travel guide book, hiking guide book,
        French dictionary, English dictionary, Spanish dictionary, French textbook,
        chemistry textbook, biology textbook, mathematics textbook, programming textbook,
        world atlas, road atlas, jazz vinyl record, rock vinyl record, classical vinyl record,
        soul vinyl record, jazz CD album, rock CD album, classical CD album, movie DVD,
        documentary DVD, comedy series DVD box set, crime series DVD box set, concert Blu-ray,
        documentary Blu-ray, audiobook on CD, fashion magazine, science magazine, music magazine
    """,
    "Sports & Outdoors": """
        yoga mat, extra thick yoga mat, yoga block, yoga strap, exercise mat, resistance bands,
        resistance band set, adjustable dumbbells, rubber dumbbell pair, barbell weight set,
        weight bench, exercise bike, rowing machine, folding treadmill, jump rope, foam roller,
        exercise ball, medicine ball, soccer ball, volleyball ball, rugby ball, tennis balls,
        tennis racket, badminton racket set, table tennis paddle set, golf balls, golf club set,
        golf bag, baseball bat, baseball glove, boxing gloves, goalkeeper gloves, cycling gloves,
        cycling helmet, ski helmet, climbing helmet, climbing harness, climbing rope, ski goggles,
        swimming goggles, ski poles, trekking poles, mountain bike, road bike, bike lock,
        bike pump, bike lights, bike repair kit, camping tent, two-person tent,
        family camping tent, camping stove, camping lantern, camping chair, camping hammock,
        sleeping bag, sleeping pad, hiking backpack, hydration backpack, trail backpack,
        insulated water bottle, fishing rod, fishing reel, inflatable kayak, paddle board,
        skateboard
    """,
    "Jewelry & Watches": """
        gold necklace, silver necklace, pearl necklace, diamond necklace, layered necklace,
        name necklace, gold chain, silver chain, gold pendant, silver heart pendant,
        birthstone pendant, sapphire pendant, gold ring, silver ring, diamond ring,
        engagement ring, wedding ring, signet ring, emerald ring, sapphire ring,
        stacking rings silver, gold earrings, silver earrings, pearl earrings, diamond earrings,
        hoop earrings, gold hoop earrings, stud earrings, drop earrings, clip-on earrings,
        gold bracelet, silver bracelet, pearl bracelet, charm bracelet,
        tennis bracelet with diamonds, beaded bracelet, leather bracelet, gold bangle,
        silver bangle, silver anklet, gold anklet, pearl brooch, vintage brooch, silver brooch,
        gold cufflinks, silver cufflinks, enamel cufflinks, automatic watch, quartz watch,
        diver watch, chronograph watch, pilot watch, gold wrist watch, silver wrist watch,
        leather strap watch, ladies wrist watch, mens wrist watch, digital wrist watch,
        skeleton watch, pocket watch, smart watch strap, leather watch strap, steel watch strap,
        watch winder, jewelry box
    """,
    "Digital Goods": """
        game gift card, music gift card, online store gift card, app store gift card,
        streaming gift card, restaurant digital gift card, digital gift voucher,
        spa digital voucher, cinema e-voucher, travel e-voucher, game download code,
        game activation key, game season pass, game expansion download code, in-game currency,
        in-game coins pack, in-game gems pack, in-game skin pack, in-game loot pass, battle pass,
        music streaming subscription, video streaming subscription, movie streaming subscription,
        sports streaming subscription, online magazine subscription, online newspaper subscription,
        cloud storage subscription, cloud backup subscription, online fitness subscription,
        meditation app subscription, language app subscription, dating app subscription,
        VPN subscription, password manager subscription, antivirus subscription,
        antivirus license key, office software license, photo editing software license,
        video editing software license, music software license, accounting software license,
        tax software download, operating system license key, font license download,
        stock photo license, e-book download, album download, movie download code,
        movie rental online, online course, online programming course, online language course,
        online cooking course, online photography course, online yoga course,
        online conference pass, mobile data plan, prepaid mobile credit, prepaid phone top-up,
        eSIM data plan, travel eSIM, web hosting plan, website theme download,
        printable planner download, printable pattern download
    """,
}

BRANDS: Final = ("Acme", "Nordvik", "Halden", "Lumo", "Kestrel", "Verano", "Oakline", "Tessera", "Bluefin")

SIZES: Final[dict[str, tuple[str, ...]]] = {
    "Food, Perishable": ("large", "small", "500 g", "for two"),
    "Food, Packaged": ("250g", "500 g", "1 kg", "family size"),
    "Electronics": ("black", "2 m", "128GB", "v2"),
    "Clothing": ("size M", "size L", "XL", "navy"),
    "Footwear": ("size 38", "EU 42", "US 9", "black"),
    "Home & Kitchen": ("large", "28 cm", "white", "grey"),
    "Beauty": ("50 ml", "200ml", "travel size", "refill"),
    "Toys": ("age 3+", "large", "40 pieces", "red"),
    "Books & Media": ("hardcover", "2nd edition", "used", "vol. 2"),
    "Sports & Outdoors": ("blue", "size M", "10 kg", "pro"),
    "Jewelry & Watches": ("14k", "42 mm", "rose", "size 7"),
    "Digital Goods": ("12 months", "$25", "1 year", "family"),
}

JUNK: Final = (
    "n/a", "asdf", "???", "see photos", "wrong one", "as discussed", "order #48213", "the thing",
    "none", "other", "parcel", "box 2 of 3", "x", "same as last time", "returning this", "idk",
    "SKU 0093-11", "12345", "misc", "-",
)  # fmt: skip

# The percentage of customers who use each wording.
BRAND_PERCENT: Final = 12
SIZE_PERCENT: Final = 15
QUANTITY_PERCENT: Final = 8
TYPO_PERCENT: Final = 10
UPPER_CASE_PERCENT: Final = 6
CAPITALIZED_PERCENT: Final = 19


def items() -> tuple[tuple[str, str], ...]:
    """The (name, category) pairs of the catalogue, in its order."""
    return tuple(
        (" ".join(name.split()), category) for category, names in CATALOGUE.items() for name in names.split(",")
    )


def customer_wording(name: str, category: str, dice: Sequence[int]) -> str:
    """The item's name as a customer in a hurry writes it; five dice in [0, 1,000,000) decide how.

    >>> customer_wording("chicken curry", "Food, Perishable", [50, 50, 50, 50, 50])
    'chicken curry'
    >>> customer_wording("chicken curry", "Food, Perishable", [50, 100, 50, 2, 300])
    'CHIKCEN CURRY SMALL'
    """
    # The last two digits of each die decide whether to change the name, the others how.
    (brand, size, quantity, case, typo) = (divmod(die, 100) for die in dice)
    text = name
    if brand[1] < BRAND_PERCENT:
        text = f"{BRANDS[brand[0] % len(BRANDS)]} {text}"
    if size[1] < SIZE_PERCENT:
        text = f"{text} {SIZES[category][size[0] % len(SIZES[category])]}"
    if quantity[1] < QUANTITY_PERCENT:
        text = f"{2 + quantity[0] % 4}x {text}"
    if typo[1] < TYPO_PERCENT:
        text = _mistyped(text, at=typo[0] % (len(text) - 1), kind=typo[0] % 3)
    return _cased(text, percentile=case[1])


def _cased(text: str, *, percentile: int) -> str:
    """The text in capitals for the lowest percentiles, capitalized for the next, else as it is."""
    if percentile < UPPER_CASE_PERCENT:
        return text.upper()
    return text.capitalize() if percentile < UPPER_CASE_PERCENT + CAPITALIZED_PERCENT else text


def _mistyped(text: str, *, at: int, kind: int) -> str:
    """The text with the letters at and after `at` swapped, the first doubled, or dropped."""
    first, second = text[at], text[at + 1]
    slip = (second + first, first + first + second, second)[kind]
    return text[:at] + slip + text[at + 2 :]
