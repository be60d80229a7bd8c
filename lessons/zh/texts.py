"""What the Chinese notebooks print: `lesson.say` looks each English text up here.

Texts in drawings stay English: the fonts of matplotlib have no Chinese characters.
"""

TEXTS = {
    # lesson.py
    'Data: %s, %d training and %d test pictures, in %s':
        '数据：%s，%d 张训练图片和 %d 张测试图片，在 %s',
    'sample data set': '样例数据集',
    'There is no flag --%s.': '没有 --%s 这个标志。',
    '%s was interrupted. Run the cell again.':
        '%s 被中断了。请再运行一次这个单元格。',
    '%s ended with code %d; the lines above say why.': '%s 以退出码 %d 结束；原因见上面几行。',
    'Exercise %s: put your answer in place of the dots and run this cell again.':
        '练习 %s：把省略号换成你的答案，再运行这个单元格。',
    'the answer has the wrong form (%s).': '答案的形式不对（%s）。',
    'Right:': '对：',
    'Not yet:': '还不对：',

    # errors.py, control_c.py and overfitting.py
    '`%s` has no value yet. Run the cells under "%s" first, then this one again. '
    'Run > Run All Above Selected Cell does so.':
        '`%s` 还没有值。先运行“%s”一节的单元格，再运行这个。'
        '菜单 Run > Run All Above Selected Cell 会运行上面的全部单元格。',
    'The cell was interrupted. Run it again.': '单元格被中断了。请再运行一次。',
    'Training was interrupted. Run the cell again to go on.':
        '训练被中断了。再运行一次这个单元格，就会接着训练。',
    'Training was interrupted. Run the cell again.': '训练被中断了。请再运行一次这个单元格。',

    # exercises_1.py
    'each record starts with its label: one more byte.':
        '每条记录以标签开头：还要多一个字节。',
    'each of the 100 records before also has a label.': '前面的 100 条记录也各有一个标签。',
    'each record starts with a label, this one and the 100 before it.':
        '每条记录都以标签开头：这一条是，前面的 100 条也是。',
    'that is pixel by pixel. The file stores plane by plane: all red values come first.':
        '这是按像素一个个存的位置。文件是按平面存的：先是全部红色值。',
    'that is the red value. A plane has 32 x 32 values.':
        '那是红色值。一个平面有 32 x 32 个值。',
    'that is the blue value. Red comes first, then green.':
        '那是蓝色值。先是红色，然后是绿色。',
    'row and column are exchanged. A plane is stored row by row.':
        '行和列弄反了。平面是一行接一行存的。',
    '100 records, the label, one plane, five rows of 32 values, and seven values come before it.':
        '它前面有 100 条记录、标签、一个平面、五行（每行 32 个值），再加七个值。',
    'count the records before it, then the label, then whole planes, then whole rows, then values.':
        '先数它前面的记录，再数标签，然后是整个的平面、整行，最后是单个的值。',
    'the function returns nothing yet.': '函数还没有返回结果。',
    'the picture has another shape or dtype than uint8 [32, 32, 3].':
        '图片的形状或类型不是 uint8 [32, 32, 3]。',
    'the label is the first byte of the record: that of another byte came back.':
        '标签是记录的第一个字节，返回的却是别的字节。',
    'the picture differs from the one in the file. Check offset and transpose.':
        '图片和文件里的不一样。检查 offset 和 transpose。',
    'labels and pictures are those that the project reads.':
        '标签和图片都与本项目读到的一样。',
    'no network was trained on the test file, but the choice among them was made by it.':
        '确实没有一个网络用测试文件训练过，但挑选网络用的正是它。',
    'each score is partly luck, and the best of ten is the luckiest. Hold out training pictures to '
    'choose by (--validation_examples), and score on the test file once.':
        '每个分数都带点运气，十个里最好的那个运气最好。应当留出一些训练图片用来挑选'
        '（--validation_examples），测试文件只用来评一次分。',
    'a score does not change because other networks are thrown away.':
        '扔掉别的网络，不会改变这个网络的分数。',
    'choose a, b or c.': '请选 a、b 或 c。',

    # exercises_2.py
    'the queue does not stop between epochs: only the very last batch is smaller, with what is '
    'left over.':
        '队列在两个 epoch 之间不停：只有最后一批小一些，装的是剩下的记录。',
    'a batch may hold the end of one epoch and the start of the next.':
        '同一批里可以既有一个 epoch 的结尾，又有下一个的开头。',
    'count the last, smaller batch as well.': '最后那个较小的批也要算。',
    'divide the records of all epochs together by 128. What is left is the last batch.':
        '把所有 epoch 的记录合起来除以 128。余数就是最后一批。',
    'the queue runner fails because the counter has no value, and closes the empty queue. Only '
    'coordinator.join(threads) raises the cause.':
        '计数器没有值，队列运行器就失败，并关闭空队列。'
        '只有 coordinator.join(threads) 会抛出真正的原因。',
    'it was tried just now, and something else happened. What does a closed queue do?':
        '刚才真的试了一次，结果不是这样。关闭的队列会怎样？',
    'in way 1, reading and computing take turns: add their times.':
        '在方式 1 里，读取和计算轮流进行：把两个时间加起来。',
    'in way 2 both happen at once: the longer time counts.':
        '在方式 2 里，两者同时进行：看较长的那个时间。',
    'in way 3 three threads bring a batch every 80 ms. Which is longer, that or a step?':
        '在方式 3 里，三个线程每 80 毫秒送来一批。这和一步的时间相比，哪个长？',
    'one thread brings a batch every 240 ms. A step needs one every 100 ms.':
        '一个线程每 240 毫秒送来一批，训练每 100 毫秒就要一批。',
    'sum, longer time, and the longer of 240 / 3 and 100. Two threads would be too slow.':
        '依次是两者之和、较长的时间、240 / 3 和 100 中较长的。两个线程就太慢了。',

    # exercises_3.py
    'every mirrored shape is still of its kind, the checker too: its squares may lie on either '
    'diagonal.':
        '每种图形翻转之后还是同一种，checker（棋盘格）也是：它的方块在哪条对角线上都行。',
    'a square turned by 45 degrees is a diamond, and a diamond is a square.':
        '正方形转 45 度就是菱形，菱形转 45 度就是正方形。',
    'shapes lie near the middle: moved by four pixels, most of each is still visible.':
        '图形都在中间附近：平移四个像素，大部分仍然看得见。',
    'the pictures have much more noise than that already, and you can name them.':
        '图片里本来的噪声就比这大得多，你照样认得出来。',
    'choose a, b, c or d.': '请选 a、b、c 或 d。',
    'digits: %s': '数字：%s',
    'photographs: %s': '照片：%s',
    'a mirrored 2 is no digit.': '左右翻转的 2 不是数字。',
    'upside down, some digits are others or none.':
        '上下翻转之后，有的数字变成别的数字，有的根本不是数字。',
    'no ship sails upside down: a network need not know such pictures.':
        '船不会底朝天航行：网络不必认识这样的图片。',
    'turned that far, a 6 comes near a 9, and a 1 near a 7.':
        '转这么多，6 就像 9，1 就像 7 了。',
    'few photographers tilt a camera by more than %d degrees.':
        '拍照的人很少把相机歪到 %d 度以上。',
    'a hue that far off makes deer green, and green things frogs.':
        '色相偏这么多，鹿会变绿，而绿的东西会像青蛙。',
    'that leaves pictures with hardly any of the object in it.':
        '这样一来，有的图片里几乎看不到物体了。',
    'the one that helps most is missing: the mirror image of a horse is a horse.':
        '少了最有帮助的那一种：左右翻转的马还是马。',
    'take at least three kinds.': '至少选三种。',
    'no label is spoiled. Whether they help, and at which strength, only a training with held-out '
    'pictures tells.':
        '没有一个标签会弄错。至于有没有帮助、强度多大合适，要训练一次，用留出的图片评分才知道。',
    'the left edge has as many places as the upper edge, independently of it.':
        '左边的位置和上边的一样多，而且两者互不影响。',
    'each of them can also be mirrored.': '每一张还可以左右翻转。',
    'from row 0 to row 8 there are nine places, not eight.':
        '从第 0 行到第 8 行有九个位置，不是八个。',
    'rows 0 to 8 are nine places, and each crop can be mirrored.':
        '第 0 行到第 8 行是九个位置，每次裁剪的结果还可以左右翻转。',
    '9 places from top to bottom, 9 from left to right, 2 mirror images.':
        '从上到下 9 个位置，从左到右 9 个，每个翻转或不翻转，共 2 种。',
    'count the places of the upper edge, then of the left edge.':
        '先数上边有几个位置，再数左边有几个。',

    # exercises_4.py
    'two pools halve 32 to 8, so local3 connects 8 x 8 x 64 values with 384 units.':
        '两次池化把 32 减半成 8，所以 local3 把 8 x 8 x 64 个值连到 384 个单元。',
    'these are the weights. Each of the 384 units has a bias too.':
        '这只是权重。384 个单元还各有一个偏置。',
    'that is the number for 24 x 24. What is the shape after pool2 now?':
        '那是 24 x 24 时的数目。现在 pool2 之后是什么形状？',
    'find the height and width after two pools first. Then count as for 24 x 24.':
        '先算出两次池化之后的高和宽，再像 24 x 24 时那样算。',
    'each class gets the probability 0.01, and -ln(0.01) is twice -ln(0.1).':
        '每个类别的概率是 0.01，而 -ln(0.01) 是 -ln(0.1) 的两倍。',
    'the loss uses the natural logarithm, np.log.': '损失用的是自然对数，也就是 np.log。',
    'which probability does each of 100 equally likely classes get?':
        '100 个类别可能性相同，每个的概率是多少？',
    'the answer has three rows of three numbers.': '答案要有三行，每行三个数。',
    'only the largest value, 6, decided the result. It gets the whole gradient.':
        '决定结果的只有最大值 6。全部梯度都给它。',
    'a small change of a value that is not the largest does not change the result.':
        '不是最大的值稍微变一点，结果不变。',
    'look for the largest value; the whole gradient goes to it.':
        '找出最大值；全部梯度都给它。',

    # exercises_5.py
    '--max_steps counts the steps of all starts together.':
        '--max_steps 计的是各次启动合起来的步数。',
    '--max_steps counts the steps of all starts, not those of this one.':
        '--max_steps 计的是各次启动合起来的步数，不是这一次的。',
    'the checkpoint holds the step. How many are left?':
        '检查点里存着走到了第几步。还剩多少步？',
    'there is no run in runs/healthy. Run the cells under "Start and stop" first.':
        'runs/healthy 里没有训练的结果。先运行“开始与停止”一节的单元格。',
    'a step takes a batch of 16 pictures, so pictures a second are 16 times the steps.':
        '一步用一批 16 张图片，所以每秒的图片数是每秒步数的 16 倍。',
    'those are steps a second. How many pictures does a step take?':
        '那是每秒的步数。一步用多少张图片？',
    "take the last value of curves['global_step/sec'], times the batch size.":
        "取 curves['global_step/sec'] 的最后一个值，乘以批的大小。",
    'with a rate too high, the training accuracy would be low too.':
        '如果学习率太高，训练准确率也会低。',
    'with wrong labels, the training accuracy would stay near 0.1 for a long time, and the test '
    'precision too.':
        '如果标签错了，训练准确率会长时间停在 0.1 附近，测试的 precision 也一样。',
    'it knows the training pictures by heart and is no better for it on others. More augmentation, '
    'weight decay or more pictures help, or an earlier end.':
        '它把训练图片背了下来，对别的图片却没有好处。'
        '加强数据增强或权重衰减、增加图片，或者早些结束，都有帮助。',
    'in health both rise together. Here one falls while the other rises.':
        '健康时两者一起上升。这里一个上升，另一个却下降。',
    'answer with one of the letters a, b, c and d, in quotation marks.':
        '请用 a、b、c、d 中的一个字母回答，加上引号。',

    # exercises_6.py
    'the precision is 0.910, and the true one is likely within two of these: 0.006.':
        'precision 是 0.910，真正的值多半与它相差不到两个标准误差，也就是 0.006。',
    'that is the variance. The standard error is its square root.':
        '那是方差。标准误差是它的平方根。',
    'that is two standard errors.': '那是两个标准误差。',
    'p is 9100 / 10000 and n is 10000. Take the square root of p (1 - p) / n.':
        'p 是 9100 / 10000，n 是 10000。求 p (1 - p) / n 的平方根。',
    'ten times as exact needs a hundred times as many pictures.':
        '要精确到十倍，就需要一百倍的图片。',
    'that gives a standard error of 0.0032. The number stands under a square root.':
        '那样标准误差是 0.0032。图片数在根号里面。',
    'solve sqrt(0.9 * 0.1 / n) = 0.001 for n.': '从 sqrt(0.9 * 0.1 / n) = 0.001 解出 n。',
    'the column of B has 15 pictures, and 9 of them are B.':
        'B 那一列有 15 张图片，其中 9 张确实是 B。',
    'that is the share of the true B that are named B: a row. This asks for a column.':
        '那是真正的 B 中被认成 B 的比例，看的是行。这里问的是列。',
    'a row is a true class, a column a predicted one. Add up one column.':
        '一行是一个真实的类别，一列是一个预测的类别。把一列加起来。',
}
