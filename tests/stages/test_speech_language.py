"""Which language a text is in: short lines as subtitles have them, and when nobody can tell."""

from stages.speech.language import told

# ruff: noqa: E501
LINES = {
    "en": "Where are you going?|I don't know what you mean.|Come with me, quickly!|It was raining all night.|She said no.|Thank you very much.|Get out of here.|What's the time?|We have to leave now.|My brother is a doctor.",
    "de": "Wohin gehst du?|Ich weiß nicht, was du meinst.|Komm mit, schnell!|Es hat die ganze Nacht geregnet.|Sie hat nein gesagt.|Vielen Dank.|Raus hier.|Wie spät ist es?|Wir müssen jetzt los.|Mein Bruder ist Arzt.",
    "fr": "Où vas-tu ?|Je ne sais pas ce que tu veux dire.|Viens avec moi, vite !|Il a plu toute la nuit.|Elle a dit non.|Merci beaucoup.|Sors d'ici.|Quelle heure est-il ?|Il faut partir maintenant.|Mon frère est médecin.",
    "es": "¿Adónde vas?|No sé qué quieres decir.|¡Ven conmigo, rápido!|Llovió toda la noche.|Ella dijo que no.|Muchas gracias.|Fuera de aquí.|¿Qué hora es?|Tenemos que irnos ya.|Mi hermano es médico.",
    "it": "Dove vai?|Non so cosa vuoi dire.|Vieni con me, presto!|Ha piovuto tutta la notte.|Lei ha detto di no.|Grazie mille.|Fuori di qui.|Che ore sono?|Dobbiamo andare adesso.|Mio fratello è medico.",
    "pt": "Para onde vais?|Não sei o que queres dizer.|Vem comigo, depressa!|Choveu a noite toda.|Ela disse que não.|Muito obrigado.|Saia daqui.|Que horas são?|Temos de ir agora.|O meu irmão é médico.",
    "nl": "Waar ga je heen?|Ik weet niet wat je bedoelt.|Kom mee, snel!|Het heeft de hele nacht geregend.|Ze zei nee.|Heel erg bedankt.|Wegwezen hier.|Hoe laat is het?|We moeten nu gaan.|Mijn broer is dokter.",
    "sv": "Vart är du på väg?|Jag vet inte vad du menar.|Kom med mig, fort!|Det regnade hela natten.|Hon sa nej.|Tack så mycket.|Ut härifrån.|Vad är klockan?|Vi måste gå nu.|Min bror är läkare.",
    "pl": "Dokąd idziesz?|Nie wiem, co masz na myśli.|Chodź ze mną, szybko!|Całą noc padało.|Powiedziała nie.|Dziękuję bardzo.|Wynoś się stąd.|Która godzina?|Musimy już iść.|Mój brat jest lekarzem.",
    "ru": "Куда ты идёшь?|Я не знаю, что ты имеешь в виду.|Пойдём со мной, быстро!|Всю ночь шёл дождь.|Она сказала нет.|Большое спасибо.|Убирайся отсюда.|Который час?|Нам пора идти.|Мой брат врач.",
    "tr": "Nereye gidiyorsun?|Ne demek istediğini bilmiyorum.|Benimle gel, çabuk!|Bütün gece yağmur yağdı.|Hayır dedi.|Çok teşekkür ederim.|Defol buradan.|Saat kaç?|Şimdi gitmeliyiz.|Kardeşim doktor.",
    "ja": "どこへ行くの？|何を言っているのか分からない。|早く一緒に来て！|一晩中雨が降っていた。|彼女は断った。|どうもありがとう。|ここから出て行け。|今何時ですか？|もう行かなくちゃ。|兄は医者です。",
    "zh": "你要去哪里？|我不知道你是什么意思。|快跟我来！|下了一整夜的雨。|她说不。|非常感谢你。|滚出去。|现在几点了？|我们得走了。|我哥哥是医生。",
    "ko": "어디 가세요?|무슨 말인지 모르겠어.|빨리 나랑 가자!|밤새 비가 왔어요.|그녀는 싫다고 했다.|정말 고마워요.|여기서 나가.|지금 몇 시예요?|이제 가야 해.|우리 형은 의사야.",
    "ar": "إلى أين تذهب؟|لا أعرف ماذا تقصد.|تعال معي بسرعة!|كانت تمطر طوال الليل.|قالت لا.|شكرا جزيلا.|اخرج من هنا.|كم الساعة؟|علينا أن نذهب الآن.|أخي طبيب.",
}


def lines(language):
    return LINES[language].split("|")


def test_a_single_line_is_known_rightly_or_not_at_all():
    found = [(language, *told([line])) for language in LINES for line in lines(language)]
    sure = [(truth, language) for truth, language, _ in found if language]
    assert len(found) == 150
    assert len(sure) >= 105
    assert all(truth == language for truth, language in sure)
    assert all((language is not None) == (chance >= 0.5) for _, language, chance in found)


def test_several_lines_are_judged_together_and_no_words_not_at_all():
    for language in LINES:
        for first in range(8):
            assert told(lines(language)[first : first + 3])[0] in (language, None)
        assert told(lines(language))[0] == language
    for nothing in ([], [""], ["…", "?!", "12:30"]):
        assert told(nothing) == (None, None)
