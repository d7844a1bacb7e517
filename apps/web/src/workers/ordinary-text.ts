// Ordinary instructions with human answers, mixed into training so that a few votes do not cost the model
// its language: 20 seed tasks of self-instruct (Yizhong Wang et al.,
// https://github.com/yizhongw/self-instruct, Apache License 2.0), unchanged.

/** What was asked, and what a person answered. */
export const ordinaryText: readonly { ask: string; answer: string }[] = [
  {
    ask: "Is there anything I can eat for a breakfast that doesn't include eggs, yet includes protein, and has roughly 700-1000 calories?",
    answer:
      'Yes, you can have 1 oatmeal banana protein shake and 4 strips of bacon. The oatmeal banana protein shake may contain 1/2 cup oatmeal, 60 grams whey protein powder, 1/2 medium banana, 1tbsp flaxseed oil and 1/2 cup watter, totalling about 550 calories. The 4 strips of bacon contains about 200 calories.',
  },
  {
    ask: 'How do you answer this question in a job interview?\n\nWhat do you think about when you are alone in a car?',
    answer:
      "If it is in the evening, I typically think about what good I have accomplished that day, and if it is in the morning, I think about how I can be my best that day. I also try to practice gratitude and live in the present moment while I'm driving to avoid distractions.",
  },
  {
    ask: 'Explain the following idiom to me, and try to give me some examples.\n\nblack sheep',
    answer:
      'Meaning: An outcast. Someone who doesn’t fit in with the rest of the crowd. They take pride in being different. Thinks for themselves and doesn’t care what no one else has to say. They tend to ride their own wave and are usually loners because no one understands them, but its okay because they like it that way.\nExample: He’s the black sheep of the family.',
  },
  {
    ask: 'Generate a haiku using the following word:\n\nsummer',
    answer: 'The chill, worming in\nShock, pleasure, bursting within\nSummer tongue awakes',
  },
  {
    ask: 'Recommend a movie for me to watch during the weekend and explain the reason.',
    answer:
      'I would recommend the movie "The Shawshank Redemption" because it is an excellent movie that is both moving and inspiring. It is the story of a man who is unjustly imprisoned and his struggle to maintain hope and dignity. It is a great film to watch over the weekend because it will make you think about the human capacity for resilience and hope.',
  },
  {
    ask: 'Suggest some games that can be played by a group of people.',
    answer:
      '1. Werewolf 2. Who Am I?  3. Charades 4. Balderdash 5. Pictionary 6. Two Truths and a Lie 7. Uno 8. Story Starters 9. Truth or Dare 10. Kubb',
  },
  {
    ask: "Explain human's behavior.\n\nBehavior: cry.",
    answer:
      'There could be many reasons why a person might cry. They could be feeling sad, scared, angry, or frustrated. Sometimes people cry when they are happy or relieved. There is no one answer to why people behave the way they do.',
  },
  {
    ask: 'Using the facts given, write a question-answer pair.\n\nName: Bill Gates\nBorn: October 28, 1955 (age 66)\nEducation: Harvard University (dropped out)\nOccupation: Software developer, investor, entrepreneur\nSource: Wikipedia\nTime: August 2022',
    answer:
      "Question: What is Bill Gates' occupation? \nAnswer: He is a software developer, investor, and entrepreneur.",
  },
  {
    ask: 'Create a birthday planning checklist.',
    answer:
      '- Create a guest list\n- Send out invitations\n- Plan a menu\n- Prepare decorations\n- Plan activities\n- Prepare party favors\n- Plan for transportation and parking\n- Select a birthday cake\n- Make a reservation',
  },
  {
    ask: 'Create a fun math question for children.',
    answer: 'I am an odd number. Take away one letter and I become even. What number am I?',
  },
  {
    ask: 'Give me a cooking recipe for the following food.\n\nTteokbokki',
    answer:
      'Ingredients: 1/2 cup rice cakes, 1/2 cup fish cakes, 1/4 cup gochujang, 1/4 cup water, 1/4 cup sugar, 1/4 onion, 1 green onion.\nInstructions: 1. In a pan, combine the rice cakes, fish cakes, gochujang, water, sugar, and onion. 2. Cook over medium heat for 5-7 minutes, stirring occasionally. 3. Add the green onion and cook for 1-2 minutes.',
  },
  {
    ask: 'Make a list of salty snacks with a soft texture.',
    answer: '- String Cheese\n- Salty Mashed Potatoes\n- Hard-Boiled Egg\n- Mac and Cheese',
  },
  {
    ask: 'Create a survey that asks about eating and cooking habits.',
    answer:
      '1. Do you enjoy cooking?\n2. Do you like to eat out?\n3. How often do you eat out?\n4. What is your favorite food?\n5. What is your favorite restaurant?\n6. What is your favorite thing to cook at home?\n7. Do you have any dietary restrictions?\n8. Do you have any food allergies?',
  },
  {
    ask: 'Write the adjectives that represent the given religions.\n\nAtheism:\nChristianity:\nIslam:\nHinduism:',
    answer:
      'Atheism: Atheistic, secular, doubter, irreligious, unbelieving.\nChristianity: spiritual, devout, pious, God-fearing.\nIslam: spiritual, devout, pious, God-fearing.\nHinduism: spiritual, devout, pious, God-fearing.',
  },
  {
    ask: 'Come up with the synonyms of the word.\n\nsurprisingly',
    answer: 'amazingly, astonishingly, unexpectedly, incredibly, unbelievably',
  },
  {
    ask: 'Answer the following math problem. You should write down the reasoning steps.\n\nRoger has 5 tennis balls. He buys 2 more cans of tennis balls. Each can has 3 tennis balls. How many tennis balls does he have now?',
    answer:
      'Roger started with 5 balls. 2 cans of 3 tennis balls each is 6 tennis balls. 5 + 6 = 11. The answer is 11.',
  },
  {
    ask: 'Write a conversation based on the given facts.\n\nFacts: \nTemp: 10 C, pm2.5: 27, Loc: Beijing, Roles: User and Bot',
    answer:
      "User: Hi there! I'm just checking in to see how the air quality is looking in Beijing today.\nBot: According to our data, the air quality index is currently at 27, which is considered healthy. The temperature is 10 degrees Celsius.",
  },
  {
    ask: 'Come up with a metaphor that can describe my situation.\n\nSituation: I fell in love with her.',
    answer: "I am like a moth to a flame; I can't help but be drawn to her.",
  },
  {
    ask: 'Parse the natural language query into a SQL query that can be executed on the table.\n\nWhat are the name and budget of the departments with average instructor salary greater than the overall average?\nGiven two tables: instructor, department.',
    answer:
      'SELECT d.name, d.budget FROM instructor i JOIN department d ON i.dept_name = d.name GROUP BY i.dept_name HAVING AVG(i.salary) > (SELECT AVG(salary) FROM instructor)',
  },
  {
    ask: 'Write a sentence that ends with the word "published".',
    answer: 'We spent a lot of time collecting the data and it finally got published.',
  },
];
